"""What the kernel is asked for to keep untrusted code apart; runs inside the sandbox's process.

Standard library alone: it is imported by an interpreter without site-packages.
"""

from __future__ import annotations

import ctypes
import os
import struct

# Annotations alone need more; these imports are paid for by every sandbox that starts.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_NEWNS, _NEWUTS, _NEWIPC = 0x00020000, 0x04000000, 0x08000000
_NEWUSER, _NEWPID, _NEWNET = 0x10000000, 0x20000000, 0x40000000
_NEW_ANY = _NEWNS | _NEWUTS | _NEWIPC | _NEWUSER | _NEWPID | _NEWNET | 0x02000000  # cgroup

_RDONLY, _NOSUID, _NODEV, _NOEXEC, _REMOUNT = 1, 2, 4, 8, 32
_BIND, _REC, _PRIVATE = 4096, 16384, 1 << 18
_DETACH = 2
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_SYS_MOUNT_SETATTR = 442
_LANDLOCK = 444, 445, 446

_PDEATHSIG, _DUMPABLE, _SECCOMP, _SUBREAPER, _NO_NEW_PRIVILEGES = 1, 4, 22, 36, 38

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store")
"""Where a system keeps its programs and libraries."""
_FILES = ("/etc/ld.so.cache", "/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_FIRST_USER = 1_500_000_000
"""Users from here on are nobody's; each sandbox takes one, so that limits per user are its own."""
INSIDE_USER = 65534

KILL, STOP = 9, 19

_libc = ctypes.CDLL(None, use_errno=True)


class IsolationError(Exception):
    """What the kernel refused."""


def die_with_parent() -> None:
    """Get killed when the thread that started this process ends. Undone by a change of user."""
    _prctl("die with its parent", _PDEATHSIG, KILL)


def ignore_interrupts() -> None:
    """Take Python's handler off SIGINT: then the first process of a namespace ignores it."""
    _libc.signal(2, None)


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ended."""
    _prctl("adopt orphans", _SUBREAPER, 1)


def set_readable(readable: bool) -> None:
    """Whether processes of the same user may look into this one, by ptrace or /proc."""
    _prctl("change who may look into it", _DUMPABLE, int(readable))


def enter_namespaces() -> bool:
    """Leave the machine's processes (from the next fork on), mounts, network and IPC.

    Returns whether this process is a root that can become any user.

    Raises:
        IsolationError: the kernel grants no namespaces.
    """
    apart = _NEWNS | _NEWUTS | _NEWIPC | _NEWPID | _NEWNET
    if os.geteuid() == 0:
        if _libc.unshare(apart) == 0:
            return True
        _become_nobody()
    user, group = os.geteuid(), os.getegid()
    _check(_libc.unshare(apart | _NEWUSER), "unshare user, pid, mount, network and IPC namespaces")
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{INSIDE_USER} {user} 1"),
        ("gid_map", f"{INSIDE_USER} {group} 1"),
    ):
        try:
            with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
                file.write(text)
        except OSError as e:
            raise IsolationError(f"write /proc/self/{name}: {e.strerror}") from e
    return False


def unused_user(process: int | None = None) -> int:
    """A user that owns and runs nothing else; one for each launcher (this process by default)."""
    return _FIRST_USER + (process or os.getpid())


def _become_nobody() -> None:
    """Change from a container's root without CAP_SYS_ADMIN to an ordinary user: to those the
    kernel may grant user namespaces. A root that cannot change is an ordinary user already."""
    user = unused_user()
    try:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    except OSError:
        return
    set_readable(True)
    die_with_parent()


def make_root(packages: Iterable[str], interpreter: str) -> None:
    """Replace the file system by an empty one that shows the system's programs, the interpreter
    and ``packages``, all read-only; of the first process of a pid namespace.

    Raises:
        IsolationError: the kernel refused a mount.
    """
    shown = {path: os.path.realpath(path) for path in (*SYSTEM, interpreter, *packages)}
    _mount("none", "/", "", _REC | _PRIVATE)
    base = "/tmp"
    _mount("tmpfs", base, "tmpfs", _NOSUID | _NODEV, "size=1m,nr_inodes=4096,mode=755")
    os.mkdir(f"{base}/old")
    number = {"x86_64": 155}.get(os.uname().machine, 41)
    old = f"{base}/old".encode()
    _check(_libc.syscall(number, base.encode(), old), "pivot_root")
    os.chdir("/")
    for path in sorted(shown, key=len):
        _show(path, shown[path])
    for path in _FILES:
        if os.path.exists(f"/old{path}"):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
            _mount(f"/old{path}", path, "", _BIND)
    for name, target in (("stdin", "0"), ("stdout", "1"), ("stderr", "2"), ("fd", "")):
        os.symlink(f"/proc/self/fd/{target}", f"/dev/{name}")
    os.mkdir("/tmp")
    os.mkdir("/proc")
    _mount_proc()
    _check(_libc.umount2(b"/old", _DETACH), "unmount the machine's file system")
    os.rmdir("/old")
    _mount("none", "/", "", _REMOUNT | _BIND | _RDONLY | _NOSUID | _NODEV)


def mount_scratch(size: int) -> None:
    """Give this process, and what it starts, an empty /tmp of ``size`` bytes that ends with it."""
    _check(_libc.unshare(_NEWNS | _NEWIPC), "unshare the mount namespace")
    options = f"size={size},nr_inodes=4096,mode=777"
    _mount("tmpfs", "/tmp", "tmpfs", _NOSUID | _NODEV, options)
    os.chdir("/tmp")


def drop_privileges() -> None:
    """Give up all capabilities for good, and the system calls that reach out of a sandbox."""
    _prctl("give up new privileges", _NO_NEW_PRIVILEGES, 1)
    header, none = struct.pack("II", 0x20080522, 0), bytes(24)
    _check(_libc.capset(header, none), "give up capabilities")


def confine_files(readable: Iterable[str], writable: str) -> bool:
    """Let this process open files below these directories alone (Landlock); whether it could."""
    read_file, read_dir, execute, write_file = 4, 8, 1, 2
    create, add, restrict = _LANDLOCK
    version = _libc.syscall(create, None, ctypes.c_size_t(0), 1)
    if version < 1:
        return False
    # Rights that a version does not know cannot be taken away, such as truncating before 3.
    everything = (1 << {1: 13, 2: 14, 3: 15, 4: 15}.get(version, 16)) - 1
    ruleset = _libc.syscall(create, struct.pack("Q", everything), ctypes.c_size_t(8), 0)
    _check(ruleset, "make a Landlock ruleset")
    rules = [(path, execute | read_file | read_dir) for path in readable]
    rules += [(path, read_file | write_file) for path in _FILES] + [(writable, everything)]
    for path, allowed in rules:
        if not os.path.exists(path):
            continue
        opened = os.open(path, os.O_PATH)
        if not os.path.isdir(path):
            allowed &= execute | read_file | write_file
        rule = struct.pack("=Qi", allowed, opened)
        _check(_libc.syscall(add, ruleset, 1, rule, 0), f"allow {path} by Landlock")
        os.close(opened)
    _check(_libc.syscall(restrict, ruleset, 0), "restrict itself by Landlock")
    os.close(ruleset)
    return True


_X86 = {
    "open door": (
        *(101, 155, 161, 165, 166, 250, 248, 249, 272, 298, 303, 304, 308, 310, 311, 321, 323),
        *(141, 142, 144, 314),
    ),
    "signal": (62, 129, 200, 234, 297, 424),
    "socket": (41,),
    "clone": (56,),
}
_ARM = {
    "open door": (
        *(117, 41, 51, 40, 39, 219, 217, 218, 97, 241, 264, 265, 268, 270, 271, 280, 282),
        *(140, 118, 119, 274),
    ),
    "signal": (129, 130, 131, 138, 240, 424),
    "socket": (198,),
    "clone": (220,),
}
"""Numbers of system calls. The doors are tracing, mounts, key rings, namespaces and handles of
files; then changes of priority, with which a program could make itself wait for a CPU and so blame
the machine for its time."""
_CLONE3 = 435
_BOTH_DOORS = (425, 426, 427, 428, 429, 430, 431, 432, 433, 438, 442)
"""io_uring, the mount calls of newer kernels, and pidfd_getfd."""


def filter_system_calls(*, signals: bool) -> bool:
    """Refuse sockets and what else ``_X86`` lists, new namespaces and io_uring from now on.

    ``signals`` are refused too unless they are allowed. Returns whether the machine's processor
    is known; on others nothing is filtered.
    """
    table = {"x86_64": (0xC000003E, _X86), "aarch64": (0xC00000B7, _ARM)}.get(os.uname().machine)
    if table is None:
        return False
    architecture, calls = table
    refused = calls["open door"] + _BOTH_DOORS + calls["socket"]
    refused += () if signals else calls["signal"]
    allow, refuse = (6, 0, 0, 0x7FFF0000), (6, 0, 0, 0x00050001)  # EPERM
    no_such_call = (6, 0, 0, 0x00050026)  # ENOSYS: the C library then takes clone, which is legible
    load, equal, at_least, any_bit = 0x20, 0x15, 0x35, 0x45
    program = [
        (load, 0, 0, 4),
        (equal, 1, 0, architecture),
        refuse,
        (load, 0, 0, 0),
        (at_least, 0, 1, 0x40000000),  # the x32 calls, numbered apart
        refuse,
        (equal, 0, 1, _CLONE3),
        no_such_call,
    ]
    for number in refused:
        program += [(equal, 0, 1, number), refuse]
    program += [
        (equal, 0, 3, calls["clone"][0]),
        (load, 0, 0, 16),
        (any_bit, 0, 1, _NEW_ANY),
        refuse,
        allow,
    ]
    code = b"".join(struct.pack("=HBBI", *line) for line in program)
    held = ctypes.create_string_buffer(code, len(code))
    filter_ = struct.pack("HxxxxxxQ", len(program), ctypes.addressof(held))
    _prctl("filter system calls", _SECCOMP, 2, filter_)
    return True


def _show(path: str, real: str) -> None:
    """Make what lies at ``real`` in the old file system appear at ``path``, read-only."""
    old = f"/old{real}"
    if os.path.lexists(path) or not os.path.lexists(old):
        return  # already within one that is shown, or not there
    link = f"/old{path}"
    if os.path.islink(link) and os.path.dirname(path) == "/":
        os.symlink(os.readlink(link), path)
        return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    os.mkdir(path)
    _mount(old, path, "", _BIND | _REC)
    attributes = struct.pack("QQQQ", _RDONLY | _NOSUID, 0, 0, 0)
    done = _libc.syscall(
        _SYS_MOUNT_SETATTR,
        _AT_FDCWD,
        path.encode(),
        _AT_RECURSIVE,
        attributes,
        ctypes.c_size_t(len(attributes)),
    )
    if done != 0:  # before Linux 5.12
        kept = os.statvfs(path).f_flag & (_NOSUID | _NODEV | _NOEXEC)
        _mount("none", path, "", _REMOUNT | _BIND | _RDONLY | _NOSUID | kept)


def _mount_proc() -> None:
    flags = _NOSUID | _NODEV | _NOEXEC | _RDONLY
    try:
        _mount("proc", "/proc", "proc", flags, "hidepid=2")
    except IsolationError:
        return  # a container that masks parts of its own may mount no other; few programs ask


def _mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    arguments = source.encode(), target.encode(), kind.encode() or None, ctypes.c_ulong(flags)
    done = _libc.mount(*arguments, options.encode() or None)
    _check(done, f"mount {kind or source} at {target}")


def _prctl(what: str, option: int, *values: int | bytes) -> None:
    given = [ctypes.c_ulong(v) if isinstance(v, int) else v for v in values]
    filled = given + [ctypes.c_ulong(0)] * (4 - len(given))
    _check(_libc.prctl(option, *filled), what)


def _check(result: int, what: str) -> None:
    if result < 0:
        raise IsolationError(f"{what}: {os.strerror(ctypes.get_errno())}")
