"""Downloads: whole and right or not there; resumed, never over another file; every failure says what to do."""
import collections
import errno
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from conftest import ROOT
from file_server import DATA, MD5, SHA256, give, raw, redirect, running, status
from gearnet_plugin.structures.download import fetch
from gearnet_plugin.structures.locks import locked

HALF = len(DATA) // 2
NEW = DATA[::-1]


@pytest.fixture(scope="module")
def one_server():
    with running() as server:
        yield server


@pytest.fixture
def server(one_server, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    one_server.scripts.clear()
    one_server.requests.clear()
    return one_server


@pytest.fixture
def target(tmp_path):
    return tmp_path / "data" / "x.zip"


@pytest.fixture
def get(target):
    """fetch() into the target, without pauses but for a list of them."""
    def get(urls, **options):
        return fetch(urls, target, **{"verbose": 0, "timeout": 5, "pause": get.pauses.append, **options})

    get.pauses = []
    return get


def rests(target):
    """Names beside the target."""
    return sorted(os.listdir(target.parent))


def no_network(*_, **__):
    raise AssertionError("a connection was opened")


# === the file is there already ===


@pytest.mark.parametrize("known", [{}, {"size": len(DATA)}, {"sha256": SHA256},
                                   {"md5": MD5.upper(), "size": len(DATA)}])
def test_a_right_file_needs_no_network(target, get, known, monkeypatch):
    monkeypatch.setattr(socket, "create_connection", no_network)
    target.parent.mkdir()
    target.write_bytes(DATA)
    assert get("http://example.invalid/x.zip", **known) == target
    assert rests(target) == ["x.zip"]


@pytest.mark.parametrize("content, known, message", [
    (b"own", {"size": 7}, "x.zip` is there, but it has 3 bytes, where 7 bytes are expected. It is left as it is: move"),
    (DATA[:-1] + b"?", {"size": len(DATA), "sha256": SHA256}, f"is there, but its sha256 is .*, where {SHA256} is exp"),
    (b"own", {"md5": MD5}, f"is there, but its md5 is .*, where {MD5} is expected"),
    (b"", {}, "is there, but it is empty"),
])
def test_a_wrong_file_is_never_replaced(server, target, get, content, known, message):
    target.parent.mkdir()
    target.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        get(server.add("/x", give()), **known)
    assert target.read_bytes() == content and not server.requests


def test_what_is_no_file_is_told(tmp_path, get, target):
    target.mkdir(parents=True)
    with pytest.raises(ValueError, match="is no regular file; move it"):
        get("http://example.invalid/x")
    target.rmdir()
    target.symlink_to(tmp_path / "unmounted")
    with pytest.raises(ValueError, match="is a link to `.*unmounted`, which does not exist"):
        get("http://example.invalid/x")
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="cannot make the folder `.*file/in` for the download"):
        fetch("http://example.invalid/x", tmp_path / "file" / "in" / "x")


def test_a_file_that_appears_meanwhile_is_not_replaced(server, target, get):
    url = server.add("/x", give(between=lambda: target.write_bytes(b"own")))
    with pytest.raises(ValueError, match="is there, but it has 3 bytes"):
        get(url, size=len(DATA))
    assert target.read_bytes() == b"own"
    target.unlink()
    get(url, size=len(DATA))
    assert target.read_bytes() == DATA and len(server.requests) == 1 and rests(target) == ["x.zip"]


# === a download ===


@pytest.mark.parametrize("known", [{}, {"size": len(DATA), "sha256": SHA256, "md5": MD5}])
def test_a_download_lands_whole_and_alone(server, target, get, known):
    assert get(server.add("/x", give()), **known) == target
    assert target.read_bytes() == DATA
    assert rests(target) == ["x.zip"] and len(server.requests) == 1
    path, headers = server.requests[0]
    assert headers["Accept-Encoding"] == "identity" and "Range" not in headers


def test_the_target_may_be_relative_or_in_the_home_folder(server, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert fetch(server.add("/x", give()), "a/b", verbose=0) == tmp_path / "a" / "b"
    assert fetch(server.add("/x", give()), "~/c", verbose=0) == tmp_path / "c"


def test_a_length_in_chunks_or_not_at_all_is_taken(server, target, get):
    chunked = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (DATA[:1000], DATA[1000:], b""))
    get(server.add("/x", raw(200, None, chunked, Transfer_Encoding="chunked")))
    assert target.read_bytes() == DATA
    target.unlink()
    get(server.add("/x", raw(200, None, DATA)), size=len(DATA))
    assert target.read_bytes() == DATA
    target.unlink()
    get(server.add("/x", raw(200, 5, chunked, Transfer_Encoding="chunked")))  # then the length does not count
    assert target.read_bytes() == DATA


def test_a_file_address_is_a_mirror(tmp_path, target, get):
    (tmp_path / "mirror file").write_bytes(DATA)
    get([f"file://{tmp_path}/none", f"file://{tmp_path}/mirror file"], sha256=SHA256)
    assert target.read_bytes() == DATA and not get.pauses


def test_progress_has_total_and_rate(server, target, get, capsys):
    seen = threading.Event()
    get(server.add("/x", give(between=lambda: seen.wait(1.6))), verbose=1)
    text = capsys.readouterr().err
    assert "Fetching x.zip" in text and "/293k" in text and "B/s" in text
    target.unlink()
    get(server.add("/x", give()), verbose=0)
    assert capsys.readouterr() == ("", "")
    target.rename(f"{target}.part")
    os.truncate(f"{target}.part", HALF)
    get(server.add("/x", give(between=lambda: seen.wait(1.1))), verbose=1, sha256=SHA256)
    assert "| 293k/293k" in capsys.readouterr().err, "what is here already counts as done"


# === broken connections ===


def test_a_dropped_connection_is_taken_up_where_it_stopped(server, target, get):
    get(server.add("/x", give(drop=1000), give(drop=50_000), give()))
    assert target.read_bytes() == DATA
    assert server.ranges() == [None, "bytes=1000-", "bytes=51000-"]
    assert [headers.get("If-Range") for _, headers in server.requests] == [None, '"1"', '"1"']
    assert get.pauses == [1, 1], "a gain begins the pauses anew"


def test_a_drop_in_a_chunk_is_a_drop(server, target, get):
    broken = raw(200, None, b"186a0\r\n" + DATA[:70_000], Transfer_Encoding="chunked", ETag='"1"')
    get(server.add("/x", broken, give()))
    assert target.read_bytes() == DATA and server.ranges() == [None, "bytes=70000-"]


def test_a_stall_is_a_drop(server, target, get):
    release = threading.Event()
    get(server.add("/x", give(between=lambda: release.wait(5)), give()), timeout=0.3)
    release.set()
    assert target.read_bytes() == DATA and server.ranges() == [None, f"bytes={HALF}-"]


def test_a_server_without_ranges_starts_anew(server, target, get):
    get(server.add("/x", give(drop=1000, ranges=False), give(ranges=False)))
    assert target.read_bytes() == DATA and server.ranges() == [None, "bytes=1000-"]


@pytest.mark.parametrize("range", ["bytes 0-299999/300000", "bytes 999-299999/300000", "nonsense", None])
def test_a_rest_from_another_place_is_not_appended(server, target, get, range):
    headers = {"Content_Range": range} if range else {}
    get(server.add("/x", give(drop=1000), raw(206, 100, DATA[:100], ETag='"1"', **headers), give()))
    assert target.read_bytes() == DATA and server.ranges() == [None, "bytes=1000-", None]


def test_a_server_with_wrong_ranges_is_not_asked_for_one_again(server, target, get):
    wrong = raw(206, 100, DATA[:100], ETag='"1"', Content_Range="bytes 0-99/300000")
    get(server.add("/x", give(drop=1000), wrong, give(drop=2000), give()))
    assert target.read_bytes() == DATA and server.ranges() == [None, "bytes=1000-", None, None]


def test_a_part_that_is_not_asked_for_is_refused(server, target, get):
    whole = raw(206, len(DATA), DATA, Content_Range="bytes 0-299999/300000")
    with pytest.raises(FileNotFoundError, match="the server answers 206 where 200 is expected"):
        get(server.add("/x", whole))


def test_a_server_that_knows_no_rest_gives_the_whole(server, target, get):
    def whole_only(answer):
        (status(416) if "Range" in answer.headers else give())(answer)

    get(server.add("/x", give(drop=1000), whole_only))
    assert target.read_bytes() == DATA and server.ranges() == [None, "bytes=1000-", None]


def test_a_rest_that_is_given_in_pieces_is_asked_for_again(server, target, get):
    piece = raw(206, 500, DATA[1000:1500], ETag='"1"', Content_Range="bytes 1000-1499/300000")
    get(server.add("/x", give(drop=1000), piece, give()))
    assert target.read_bytes() == DATA and server.ranges() == [None, "bytes=1000-", "bytes=1500-"]


@pytest.mark.parametrize("name, second", [
    ("If-Range respected", give(NEW, etag='"2"')),
    ("If-Range ignored", raw(206, len(NEW) - 1000, NEW[1000:], ETag='"2"', Content_Range="bytes 1000-299999/300000")),
    ("another size", raw(206, 1, b"?", ETag='"1"', Content_Range="bytes 1000-1000/1001")),
    ("too short now", status(416, Content_Range="bytes */7")),
])
def test_a_file_that_changes_on_the_server_starts_anew(server, target, get, name, second):
    get(server.add("/x", give(drop=1000), second, give(NEW, etag='"2"')))
    assert target.read_bytes() == NEW


@pytest.mark.parametrize("tags, condition", [
    ({"etag": 'W/"1"', "Last_Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}, "Mon, 01 Jan 2024 00:00:00 GMT"),
    ({"etag": None, "Last_Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}, "Mon, 01 Jan 2024 00:00:00 GMT"),
])
def test_a_weak_tag_gives_way_to_the_date(server, target, get, tags, condition):
    get(server.add("/x", give(drop=1000, **tags), give(**tags)))
    assert target.read_bytes() == DATA and server.ranges() == [None, "bytes=1000-"]
    assert server.requests[1][1]["If-Range"] == condition


@pytest.mark.parametrize("tag", [None, 'W/"1"'])
def test_without_a_version_only_a_checksum_allows_to_go_on(server, target, get, tag):
    get(server.add("/x", give(drop=1000, etag=tag), give(etag=tag)))
    assert server.ranges() == [None, None] and target.read_bytes() == DATA
    target.unlink()
    server.requests.clear()
    get(server.add("/x", give(drop=1000, etag=tag), give(etag=tag)), sha256=SHA256)
    assert server.ranges() == [None, "bytes=1000-"] and target.read_bytes() == DATA


def test_pauses_grow_and_end(server, target, get):
    with pytest.raises(FileNotFoundError, match=r"/x: the server answers 503 Service Unavailable, in 6 attempts"):
        get(server.add("/x", status(503)))
    assert get.pauses == [1, 2, 4, 8, 16] and len(server.requests) == 6
    get.pauses.clear()
    with pytest.raises(FileNotFoundError, match="429 Too Many Requests, in 2 attempts"):
        get(server.add("/x", status(429, Retry_After="17")), retries=1)
    assert get.pauses == [17]


def test_a_server_that_never_gets_further_is_given_up(server, get):
    with pytest.raises(FileNotFoundError, match="the connection ended at byte 1000 of 300000, in 6 attempts"):
        get(server.add("/x", give(drop=1000, ranges=False)))


def test_what_came_is_kept_for_the_next_call(server, target, get):
    url = server.add("/x", give(drop=1000), give(drop=0))
    with pytest.raises(FileNotFoundError, match=r"\n1000 bytes of it are kept in `.*x.zip.part`.\nGive the same"):
        get(url, retries=2)
    assert rests(target) == ["x.zip.part", "x.zip.part.json"]
    server.add("/x", give())
    server.requests.clear()
    get(url)
    assert target.read_bytes() == DATA and server.ranges() == ["bytes=1000-"] and rests(target) == ["x.zip"]


def test_an_interrupt_keeps_the_part(server, target, get):
    def interrupt(_):
        raise KeyboardInterrupt

    url = server.add("/x", give(drop=1000), give())
    with pytest.raises(KeyboardInterrupt):
        get(url, pause=interrupt)
    assert rests(target) == ["x.zip.part", "x.zip.part.json"]
    get(url)
    assert target.read_bytes() == DATA and server.ranges() == [None, "bytes=1000-"]


@pytest.mark.parametrize("note", [None, "{", "[]", json.dumps({"url": "http://elsewhere/x", "etag": '"1"'})])
def test_a_part_of_unknown_origin_is_not_continued(server, target, get, note):
    target.parent.mkdir()
    target.with_name("x.zip.part").write_bytes(b"?" * 1000)
    if note:
        target.with_name("x.zip.part.json").write_text(note)
    get(server.add("/x", give()))
    assert target.read_bytes() == DATA and server.ranges() == [None]


def test_a_part_of_the_right_size_and_unknown_origin_is_not_the_file(server, target, get):
    target.parent.mkdir()
    target.with_name("x.zip.part").write_bytes(NEW)
    get(server.add("/x", give()), size=len(DATA))
    assert target.read_bytes() == DATA


def test_a_whole_part_that_is_wrong_is_fetched_anew(server, target, get):
    target.parent.mkdir()
    target.with_name("x.zip.part").write_bytes(NEW)
    get(server.add("/x", give()), size=len(DATA), sha256=SHA256)
    assert target.read_bytes() == DATA and server.ranges() == [None]


def test_a_whole_part_needs_no_further_request(server, target, get):
    """The process was killed between the last byte and the renaming."""
    url = server.add("/x", give())
    target.parent.mkdir()
    target.with_name("x.zip.part").write_bytes(DATA)
    target.with_name("x.zip.part.json").write_text(json.dumps({"url": url, "etag": '"1"', "total": len(DATA)}))
    get(url, sha256=SHA256)
    assert target.read_bytes() == DATA and not server.requests


# === not the file ===


def test_a_wrong_checksum_is_told_and_removed(server, target, get):
    found = hashlib.sha256(NEW).hexdigest()
    with pytest.raises(ValueError, match=f"/x: its sha256 is {found}, where {SHA256} is expected; what came is rem"):
        get(server.add("/x", give(NEW)), sha256=SHA256)
    assert rests(target) == [] and len(server.requests) == 1


def test_a_wrong_sum_of_a_download_in_pieces_gets_one_more_chance(server, target, get):
    url = server.add("/x", give(NEW, etag=None, drop=1000), give(etag=None), give(etag=None))
    get(url, sha256=SHA256)
    assert server.ranges() == [None, "bytes=1000-", None] and target.read_bytes() == DATA


def test_a_wrong_size_is_seen_before_the_first_byte(server, target, get):
    with pytest.raises(ValueError, match=r"its file has 300,000 bytes \(293.0 KiB\), not the expected 7 bytes"):
        get(server.add("/x", give()), size=7)
    with pytest.raises(ValueError, match="it sends more than the expected 7 bytes"):
        get(server.add("/x", raw(200, None, DATA)), size=7)
    assert not os.path.getsize(f"{target}.part")
    with pytest.raises(ValueError, match="the server sends an empty file"):
        get(server.add("/x", give(b"")))
    assert not target.exists() and not os.path.getsize(f"{target}.part")


def test_the_beginning_of_a_longer_file_is_not_the_file(server, target, get):
    """What came, of just the expected size, must not pass for the whole afterwards."""
    def longer(answer):
        raw(200, None, DATA[:7])(answer)
        answer.wfile.flush()
        time.sleep(0.1)
        answer.wfile.write(DATA[7:])

    with pytest.raises(ValueError, match="/longer: it sends more than the expected 7 bytes"):
        get([server.add("/longer", longer), server.add("/404", status(404))], size=7)
    assert not target.exists() and not os.path.getsize(f"{target}.part")


def test_a_web_page_is_not_taken_for_the_file(server, target, get):
    page = server.add("/x", give(b"<html>log in", Content_Type="text/html; charset=utf-8"))
    with pytest.raises(ValueError, match="the server sends a web page, not the file; it may ask for a login"):
        get(page)
    assert fetch(page, target.with_name("page.html"), verbose=0).read_bytes() == b"<html>log in"


def test_nothing_packed_on_the_way_is_taken(server, target, get):
    packed = server.add("/x", give(Content_Encoding="gzip"))
    with pytest.raises(FileNotFoundError, match="sends it with Content-Encoding gzip, though asked for identity"):
        get(packed)
    get(server.add("/x.tar.gz", give(Content_Encoding="x-gzip")))
    assert target.read_bytes() == DATA, "a gzip file that is called so is stored as it is"


# === mirrors and redirections ===


def test_the_next_mirror_is_tried(server, target, get):
    bad = [server.add("/404", status(404)), server.add("/403", status(403)), server.add("/wrong", give(NEW))]
    get([*bad, server.add("/x", give())], sha256=SHA256)
    assert target.read_bytes() == DATA
    assert [path for path, _ in server.requests] == ["/404", "/403", "/wrong", "/x"] and not get.pauses


def test_all_addresses_are_told_with_their_reasons(server, target, get):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        urls = [server.add("/404", status(404)), server.add("/204", status(204)),
                f"http://127.0.0.1:{closed.getsockname()[1]}/x"]
        with pytest.raises(FileNotFoundError) as error:
            get([*urls, urls[0]], size=5, sha256=SHA256)
    lines = str(error.value).split("\n")
    assert lines[0] == f"could not download `{target}`:"
    assert lines[1:4] == [f"  {urls[0]}: the server answers 404 Not Found",
                          f"  {urls[1]}: the server answers 204 where 200 is expected",
                          f"  {urls[2]}: no answer: Connection refused, in 3 attempts"]
    assert lines[4] == (f"Give the same command again later. Or, by hand: Fetch {' or '.join(urls)} (5 bytes, sha256 "
                        f"{SHA256}) where there is a network, put it at `{target}`, and give the same command again: "
                        f"it goes on from there")


@pytest.mark.parametrize("sums, ranges", [({"sha256": SHA256}, [None, "bytes=1000-"]), ({}, [None, None])])
def test_a_mirror_continues_what_another_began_if_a_checksum_will_tell(server, target, get, sums, ranges):
    get([server.add("/a", give(drop=1000)), server.add("/b", give(etag='"b"'))], retries=0, **sums)
    assert target.read_bytes() == DATA and server.ranges() == ranges
    assert "If-Range" not in server.requests[1][1]


def test_pieces_of_two_mirrors_are_not_continued_without_a_checksum(server, target, get):
    first, second = server.add("/a", give(drop=1000), give()), server.add("/b", give(drop=1000))
    with pytest.raises(FileNotFoundError, match="2,000 bytes .* of it are kept"):
        get([first, second], retries=0, sha256=SHA256)
    get(first)
    assert target.read_bytes() == DATA and server.ranges() == [None, "bytes=1000-", None]


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_redirections_are_followed(server, target, get, code):
    server.add("/x", give(drop=1000), give())
    get(server.add("/old", redirect("/x", code)))
    assert target.read_bytes() == DATA and server.ranges() == [None, None, "bytes=1000-", "bytes=1000-"]


@pytest.mark.parametrize("location, message", [
    ("ftp://127.0.0.1/x", "it redirects to ftp://127.0.0.1/x; allowed are redirections to https"),
    ("file:///etc/hostname", "not allowed"),
    ("/loop", "the server answers 302 .*infinite loop"),
    ("http://[/x", "it is no valid address"),
])
def test_redirections_elsewhere_are_refused(server, target, get, location, message):
    with pytest.raises(FileNotFoundError, match=message):
        get(server.add("/loop", redirect(location)))
    assert not target.exists()


def test_a_redirection_never_leaves_https():
    import urllib.request

    from gearnet_plugin.structures.transfer import Refused, _Redirects

    ask, body = urllib.request.Request("https://a/x"), open(os.devnull)
    with pytest.raises(Refused, match="it redirects to http://a/x; allowed"):
        _Redirects().redirect_request(ask, body, 302, "Found", {}, "http://a/x")
    assert body.closed
    assert _Redirects().redirect_request(ask, None, 302, "Found", {}, "https://b/x").full_url == "https://b/x"


# === arguments, no network, no room ===


def test_without_downloads_the_message_says_what_to_do(target, get, monkeypatch):
    monkeypatch.setattr(socket, "create_connection", no_network)
    message = (rf"`{target}` is not there, and downloads are switched off. Fetch http://a/x or ftp://b/x \(7 bytes\) "
               rf"where there is a network, put it at `{target}`, and give the same command again: it goes on from the")
    with pytest.raises(FileNotFoundError, match=message):
        get(["http://a/x", "ftp://b/x"], size=7, download=False)
    assert not target.parent.exists()


@pytest.mark.parametrize("urls, options, message", [
    ([], {}, "no address to download from"),
    ("x.zip", {}, r"cannot download from 'x.zip'; give a whole address, .* https://, http://, file://, ftp://"),
    ("data:,x", {}, "cannot download from 'data:,x'"),
    ("http:///x", {}, "cannot download from"),
    (["http://a/x", None], {}, "cannot download from None"),
    ("http://a/x", {"size": 0}, "the size of a download should be a positive number of bytes, but found 0"),
    ("http://a/x", {"sha256": MD5}, "sha256 should be 64 hexadecimal digits, but found"),
    ("http://a/x", {"md5": "?" * 32}, "md5 should be 32 hexadecimal digits"),
])
def test_wrong_arguments_are_told(get, urls, options, message):
    with pytest.raises(ValueError, match=message):
        get(urls, **options)


def test_a_full_disk_is_told_before_the_first_byte(server, target, get, monkeypatch):
    usage = collections.namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, 2000))
    url = server.add("/x", give())
    message = rf"no room for the download in `{target.parent}`: it needs 300,000 bytes \(293.0 KiB\), but 2,000 bytes"
    with pytest.raises(OSError, match=message) as error:
        get(url, size=len(DATA))
    assert error.value.errno == errno.ENOSPC and not server.requests
    with pytest.raises(OSError, match=message):
        get(url)
    # only what is missing needs room
    target.with_name("x.zip.part").write_bytes(DATA[:-1500])
    target.with_name("x.zip.part.json").write_text(json.dumps({"url": url, "etag": '"1"', "total": len(DATA)}))
    get(url, size=len(DATA))
    assert target.read_bytes() == DATA


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_disk_that_fills_up_is_told(server, target, get):
    target.parent.mkdir()
    target.with_name("x.zip.part").symlink_to("/dev/full")
    with pytest.raises(OSError, match="no room left for `.*x.zip.part`.*give the same command again"):
        get(server.add("/x", give()))


# === other processes ===


def test_a_lock_is_held_by_one_at_a_time(tmp_path):
    inside, most = [], []

    def work():
        for _ in range(60):
            with locked(tmp_path / "lock") as held:
                inside.append(held)
                most.append(len(inside))
                time.sleep(0.0002)
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 360 and max(most) == 1 and not os.listdir(tmp_path)


@pytest.fixture
def start(target):
    """Begin to fetch in another process."""
    processes = []

    def start(url):
        code = f"from gearnet_plugin.structures.download import fetch; fetch({url!r}, {str(target)!r}, verbose=0)"
        env = {**os.environ, "GEARNET_PLUGIN_LIGHT": "1", "PYTHONPATH": ROOT, "no_proxy": "*"}
        processes.append(subprocess.Popen([sys.executable, "-c", code], env=env, stderr=subprocess.PIPE, text=True))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def wait_for(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.01)


def test_a_killed_download_is_resumed_to_the_same_bytes(server, target, get, start):
    release = threading.Event()
    url = server.add("/x", give(between=lambda: release.wait(20)), give())
    process = start(url)
    part = target.with_name("x.zip.part")
    # what the process holds in its buffer is lost with it
    wait_for(lambda: part.exists() and part.stat().st_size > 1000)
    process.send_signal(signal.SIGKILL)
    process.wait()
    release.set()
    kept = part.stat().st_size
    assert "x.zip.lock" in rests(target), "a lock left by the killed process must not stop the next one"
    get(url)
    assert target.read_bytes() == DATA and 1000 < kept <= HALF
    assert server.ranges() == [None, f"bytes={kept}-"] and rests(target) == ["x.zip"]


def test_of_two_processes_one_downloads_and_the_other_waits(server, target, get, start, capsys):
    release = threading.Event()
    url = server.add("/x", give(between=lambda: release.wait(20)))
    first = start(url)
    wait_for(lambda: server.requests)
    second = threading.Thread(target=get, args=(url,), kwargs={"verbose": 1})
    second.start()
    seen = []
    wait_for(lambda: seen.append(capsys.readouterr().err) or "Another process is fetching" in "".join(seen))
    release.set()
    second.join(20)
    assert first.wait(20) == 0, first.stderr.read()
    assert target.read_bytes() == DATA and len(server.requests) == 1 and rests(target) == ["x.zip"]
