"""Numbers for what is measured: a client's device, as a whole or an owner's share of it."""

from __future__ import annotations

from gswarm.domain.ids import ClientName

SUBJECTS_MAX = 1_000_000
"""How many a store tells apart while its process lives."""
Subject = tuple[ClientName, str, str]
"""(client, device, owner)."""


class Registry:
    """Gives out numbers from 0 on. Reading is safe from any thread, giving out is its owner's."""

    def __init__(self) -> None:
        self._numbers: dict[Subject, int] = {}
        self._subjects: list[Subject] = []

    def __len__(self) -> int:
        return len(self._subjects)

    def number(self, client: ClientName, device: str, owner: str) -> int:
        subject = (client, device, owner)
        number = self._numbers.get(subject)
        if number is None:
            number = len(self._subjects)
            self._subjects.append(subject)
            self._numbers[subject] = number
        return number

    def has_room_for(self, client: ClientName, device: str, owner: str) -> bool:
        return len(self._subjects) < SUBJECTS_MAX or (client, device, owner) in self._numbers

    def subject(self, number: int) -> Subject:
        return self._subjects[number]

    def subjects(self) -> list[Subject]:
        """All, by number."""
        return self._subjects.copy()
