"""
One answer of a server, appended to a file of which a part may be here already.

A partial file `<target>.part` has a note beside it, `<target>.part.json`: the address it comes from, its total
size, and what the server called its version (ETag, Last-Modified). It is continued only where it is certain that
the rest belongs to it; everything else starts anew. HTTP: https://www.rfc-editor.org/rfc/rfc9110#section-14.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import ssl
import string
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import closing, suppress

from .disk import amount, check_room, explain_full

SCHEMES = ("https", "http", "file", "ftp")
#: Answers that another attempt may better.
TRANSIENT = (408, 425, 429, 500, 502, 503, 504)
#: Longest pause that a server may ask for, in seconds.
LONGEST_PAUSE = 300
STEP = 1 << 18


class Refused(Exception):
    """An address does not give the file, however often it is asked. `wrong`: what it gives is another file."""

    def __init__(self, reason: str, wrong: bool = False):
        super().__init__(reason)
        self.wrong = wrong


class Broken(Exception):
    """The connection failed, which another attempt may better; `wait`: seconds that the server asks for."""

    def __init__(self, reason: str, answered: bool = True, wait: float = 0):
        super().__init__(reason)
        self.answered, self.wait = answered, wait


class Stale(Exception):
    """What is here cannot be continued. `ranges`: whether the server can be asked for a rest again."""

    def __init__(self, reason: str, ranges: bool = True):
        super().__init__(reason)
        self.ranges = ranges


# === the part that is here ===


class Part:
    """
    A partial file and the note beside it.

    Parameters:
        target (str or Path): the file it is to become, an absolute path
        provable (bool): whether a checksum will tell if the whole is right; then any beginning is worth a try
    """

    def __init__(self, target: str | os.PathLike, provable: bool):
        self.path = f"{target}.part"
        self.note = f"{target}.part.json"
        self.provable = provable
        #: whether it is made of more than one answer, so that a wrong sum may come from the joint
        self.joined = self.size > 0

    @property
    def size(self) -> int:
        """Number of bytes here."""
        try:
            return os.path.getsize(self.path)
        except FileNotFoundError:
            return 0

    @property
    def origin(self) -> dict:
        """The note: url, total, etag, modified; empty if there is none that can be read."""
        try:
            with open(self.note, encoding="utf-8") as file:
                note = json.load(file)
        except (FileNotFoundError, ValueError):
            return {}
        return note if isinstance(note, dict) else {}

    def is_whole(self, size: int | None) -> bool:
        """Whether nothing is missing, as far as its own note, or a checksum later, can tell."""
        origin = self.origin
        total = size if size is not None else origin.get("total")
        return bool(origin or self.provable) and self.size > 0 and self.size == total

    def continues(self, url: str) -> bool:
        """Whether a rest from this address can be known to belong to what is here."""
        origin = self.origin
        named = origin.get("url") == url and _version(origin)
        return self.size > 0 and bool(self.provable or named)

    def write_note(self, **origin) -> None:
        """Replace the note."""
        with open(self.note + ".tmp", "w", encoding="utf-8") as file:
            json.dump(origin, file)
        os.replace(self.note + ".tmp", self.note)

    def check_room(self, total: int | None) -> None:
        """Whether the disk has room for what is missing, if the total is known."""
        if total is not None:
            # the same if all starts anew: then the room of what is here is free again
            check_room(os.path.dirname(self.path), total - self.size, "the download")

    def remove(self) -> None:
        """Forget what is here."""
        # first the bytes: a note without bytes says nothing, bytes beside the note of others would be a lie
        for path in (self.path, self.note, self.note + ".tmp"):
            with suppress(FileNotFoundError):
                os.remove(path)
        self.joined = False


def _version(origin: dict) -> str | None:
    """What the request for a rest is tied to: a weak tag tells too little, and If-Range does not take it."""
    etag = origin.get("etag")
    return etag if etag and not etag.startswith("W/") else origin.get("modified")


# === one answer ===


def transfer(url: str, part: Part, size: int | None, timeout: float, bar, ranges: bool = True) -> None:
    """
    Ask an address once and append what it gives to the part.

    Parameters:
        url (str): address
        part (Part): what is here
        size (int, optional): size of the whole file, in bytes
        timeout (float): seconds without any data until the connection counts as broken
        bar (tqdm): progress, in bytes
        ranges (bool, optional): whether to ask for the rest only

    Raises:
        Refused: the address does not give the file
        Broken: it gave less than the rest; what came is kept
        Stale: what is here is not the beginning of what the address gives
        OSError: no room on the disk
    """
    start = part.size if ranges and part.continues(url) else 0
    origin = part.origin if part.origin.get("url") == url else {}
    with closing(_ask(url, start, origin, timeout)) as answer:
        start, total = _extent(answer, start, part, origin, size)
        _check_kind(url, answer, part, size)
        part.check_room(total)
        with open(part.path, "ab" if start else "wb") as file:
            if not start:
                part.joined = False
                part.write_note(url=url, total=total, etag=answer.headers.get("ETag"),
                                modified=answer.headers.get("Last-Modified"))
            else:
                part.joined = True
                if not origin:
                    part.write_note(url=None, total=total)
            _show(bar, start, total)
            _append(answer, file, start, total, bar)


def _ask(url: str, start: int, origin: dict, timeout: float):
    """Send the request; the answer is one with the file or the rest of it."""
    headers = {"User-Agent": "gearnet-plugin", "Accept": "*/*", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
        if version := _version(origin):
            headers["If-Range"] = version
    try:
        opener = urllib.request.build_opener(_Redirects)
        request = urllib.request.Request(urllib.parse.quote(url, safe=string.punctuation), headers=headers)
        return opener.open(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        error.close()
        reason = " ".join(f"the server answers {error.code} {error.reason}".split())
        if error.code == 416:
            raise Stale(f"the server has no byte {start}") from None
        if error.code in TRANSIENT:
            after = error.headers.get("Retry-After", "")
            raise Broken(reason, wait=min(int(after), LONGEST_PAUSE) if after.isdigit() else 0) from None
        raise Refused(reason) from None
    except http.client.InvalidURL as error:
        raise Refused(f"it is no valid address ({error})") from None
    except (OSError, http.client.HTTPException) as error:
        cause = error.reason if isinstance(error, urllib.error.URLError) else error
        if isinstance(cause, ssl.SSLCertVerificationError):
            raise Refused(f"its certificate is not trusted ({cause.verify_message}); behind a proxy of your "
                          f"institution, set SSL_CERT_FILE to its certificates") from None
        if urllib.parse.urlsplit(url).scheme == "file":
            raise Refused(_words(cause, timeout)) from None
        raise Broken(f"no answer: {_words(cause, timeout)}", answered=False) from None
    except ValueError as error:  # from a redirection, or a name that the network cannot express
        raise Refused(f"it is no valid address ({error})") from None


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Redirections lead to http or https, and never from https back to http."""

    http_error_308 = urllib.request.HTTPRedirectHandler.http_error_302  # Python 3.10 does not know it

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        before, after = urllib.parse.urlsplit(req.full_url).scheme, urllib.parse.urlsplit(newurl).scheme
        if after not in ("http", "https") or (before, after) == ("https", "http"):
            fp.close()
            raise Refused(f"it redirects to {newurl}; allowed are redirections to https, and from http to http")
        return super().redirect_request(req, fp, 301 if code == 308 else code, msg, headers, newurl)


def _extent(answer, start: int, part: Part, origin: dict, size: int | None) -> tuple[int, int | None]:
    """Where the bytes of an answer begin, and the size of the whole file if it is known."""
    status = getattr(answer, "status", None) or 200  # file and ftp have none
    if status == 206 and start:
        match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", answer.headers.get("Content-Range", "").strip())
        if not match or int(match[1]) != start:
            raise Stale(f"asked for the rest from byte {start}, the server gives "
                        f"`{answer.headers.get('Content-Range')}`", ranges=False)
        total = int(match[3]) if match[3] != "*" else part.origin.get("total")
        for key, header in (("etag", "ETag"), ("modified", "Last-Modified")):
            # some servers give ranges without a look at If-Range
            if origin.get(key) and answer.headers.get(header) not in (None, origin[key]):
                raise Stale("the file on the server has changed")
        if part.origin.get("total") not in (None, total):
            raise Stale("the file on the server has changed its size")
    elif status == 200:
        start, length = 0, answer.headers.get("Content-Length", "")
        total = int(length) if length.isdigit() and not answer.headers.get("Transfer-Encoding") else None
    else:
        raise Refused(f"the server answers {status} where 200 is expected")
    if size is not None and total is not None and total != size:
        raise Refused(f"its file has {amount(total)}, not the expected {amount(size)}", wrong=True)
    return start, total if size is None else size


def _check_kind(url: str, answer, part: Part, size: int | None) -> None:
    """Refuse what is not the file itself: something packed on the way, or a web page in its place."""
    encoding = answer.headers.get("Content-Encoding", "identity").strip().lower()
    # many servers call a file that is gzip by itself so; the bytes are those of the file
    own = encoding in ("gzip", "x-gzip") and urllib.parse.urlsplit(url).path.lower().endswith((".gz", ".tgz"))
    if encoding not in ("", "identity") and not own:
        raise Refused(f"the server sends it with Content-Encoding {encoding}, though asked for identity")
    page = answer.headers.get("Content-Type", "").lower().startswith("text/html")
    if page and not part.provable and size is None and not part.path.lower().endswith((".html.part", ".htm.part")):
        raise Refused("the server sends a web page, not the file; it may ask for a login or a confirmation", wrong=True)


def _append(answer, file, start: int, total: int | None, bar) -> None:
    place = start
    for chunk in _chunks(answer, start):
        place += len(chunk)
        if total is not None and place > total:
            file.truncate(0)
            raise Refused(f"it sends more than the expected {amount(total)}", wrong=True)
        try:
            file.write(chunk)
        except OSError as error:
            raise explain_full(error, f"`{file.name}`") from None
        bar.update(len(chunk))
    try:
        file.flush()
        os.fsync(file.fileno())
    except OSError as error:
        raise explain_full(error, f"`{file.name}`") from None
    if total is not None and place < total:
        raise Broken(f"the connection ended at byte {place} of {total}")
    if not place:
        raise Refused("the server sends an empty file", wrong=True)


def _chunks(answer, place: int) -> Iterator[bytes]:
    while True:
        try:
            # read() would wait for a whole chunk, and lose the beginning of one that breaks off
            chunk = answer.read1(STEP)
        except (OSError, http.client.HTTPException) as error:
            raise Broken(f"the connection broke at byte {place} ({_words(error)})") from None
        if not chunk:
            return
        place += len(chunk)
        yield chunk


def _show(bar, start: int, total: int | None) -> None:
    """Set the bar to where the answer begins, without taking earlier bytes into the rate."""
    bar.total = total
    bar.initial = bar.n = start
    bar.last_print_n = start


# === words ===


def _words(error: BaseException | str, timeout: float | None = None) -> str:
    if isinstance(error, TimeoutError):
        return "nothing came" + (f" for {timeout:g} s" if timeout else " for too long")
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())
