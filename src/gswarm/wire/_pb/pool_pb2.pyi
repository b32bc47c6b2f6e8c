from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class LocateRequest(_message.Message):
    __slots__ = ("digests",)
    DIGESTS_FIELD_NUMBER: _ClassVar[int]
    digests: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, digests: _Optional[_Iterable[bytes]] = ...) -> None: ...

class LocateReply(_message.Message):
    __slots__ = ("locations",)
    LOCATIONS_FIELD_NUMBER: _ClassVar[int]
    locations: _containers.RepeatedCompositeFieldContainer[BlobLocation]
    def __init__(self, locations: _Optional[_Iterable[_Union[BlobLocation, _Mapping]]] = ...) -> None: ...

class BlobLocation(_message.Message):
    __slots__ = ("digest", "sources")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    SOURCES_FIELD_NUMBER: _ClassVar[int]
    digest: bytes
    sources: _containers.RepeatedCompositeFieldContainer[BlobSource]
    def __init__(self, digest: _Optional[bytes] = ..., sources: _Optional[_Iterable[_Union[BlobSource, _Mapping]]] = ...) -> None: ...

class BlobSource(_message.Message):
    __slots__ = ("url", "holder")
    URL_FIELD_NUMBER: _ClassVar[int]
    HOLDER_FIELD_NUMBER: _ClassVar[int]
    url: str
    holder: str
    def __init__(self, url: _Optional[str] = ..., holder: _Optional[str] = ...) -> None: ...

class ReachRequest(_message.Message):
    __slots__ = ("client", "enrolment")
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    ENROLMENT_FIELD_NUMBER: _ClassVar[int]
    client: str
    enrolment: str
    def __init__(self, client: _Optional[str] = ..., enrolment: _Optional[str] = ...) -> None: ...

class ReachReply(_message.Message):
    __slots__ = ("manifests",)
    MANIFESTS_FIELD_NUMBER: _ClassVar[int]
    manifests: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, manifests: _Optional[_Iterable[bytes]] = ...) -> None: ...
