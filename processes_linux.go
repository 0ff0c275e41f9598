package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// procfs is where the proc file system is.
type procfs string

func (p procfs) path(pid int32, name string) string {
	return filepath.Join(string(p), strconv.Itoa(int(pid)), name)
}

// processes calls the function with the id of each process until it returns an
// error.
func (p procfs) processes(do func(pid int32) error) error {
	folder, err := os.Open(string(p))
	if err != nil {
		return err
	}
	defer folder.Close()
	entries, err := folder.Readdirnames(-1)
	for _, entry := range entries {
		if pid, fault := strconv.ParseInt(entry, 10, 32); fault == nil && err == nil {
			err = do(int32(pid))
		}
	}
	return err
}

// threads returns the ids of the threads of a process but for the first one.
// Each has a folder under /proc, which only does not list it.
func (p procfs) threads(pid int32) (ids []int32, err error) {
	entries, err := os.ReadDir(p.path(pid, "task"))
	if err != nil && !isGone(err) {
		return nil, err
	}
	for _, entry := range entries {
		if id, err := strconv.ParseInt(entry.Name(), 10, 32); err == nil && int32(id) != pid {
			ids = append(ids, int32(id))
		}
	}
	return ids, nil
}

// seesAll tells whether this process is in the first PID namespace: one in
// another, that of a container, sees the processes of that one only.
func (p procfs) seesAll() bool {
	const first = 0xEFFFFFFC // PROC_PID_INIT_INO in include/linux/proc_ns.h
	var status unix.Stat_t
	return unix.Stat(filepath.Join(string(p), "self/ns/pid"), &status) == nil && status.Ino == first
}

// hidesProcesses tells whether not even the first process is there: others are
// hidden then too (hidepid, see proc(5)).
func (p procfs) hidesProcesses() bool {
	_, err := os.Stat(p.path(1, ""))
	return err != nil
}

// overflowUser returns the id by which all users are shown that have none of
// their own in the user namespace of this process, see user_namespaces(7). It
// returns false where all have one, as in the first user namespace.
func (p procfs) overflowUser() (id uint32, exists bool) {
	const everyone = "0 0 4294967295"
	content, err := os.ReadFile(filepath.Join(string(p), "self/uid_map"))
	if err != nil || strings.Join(strings.Fields(string(content)), " ") == everyone {
		return 0, false
	}
	number := uint64(65534) // DEFAULT_OVERFLOWUID in linux/highuid.h
	if text, err := p.setting("kernel/overflowuid"); err == nil {
		number, _ = strconv.ParseUint(text, 10, 32)
	}
	return uint32(number), true
}

// isGone tells whether the error says that a process has ended.
func isGone(err error) bool { return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) }

func isDenied(err error) bool { return errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) }

// name returns the name of a process, hidden where it cannot be read or the
// process has ended.
func (p procfs) name(pid int32) string {
	content, err := os.ReadFile(p.path(pid, "comm"))
	if err != nil {
		return hidden
	}
	return givenName(p.wholeName(pid, string(bytes.TrimSuffix(content, []byte("\n")))))
}

// wholeName returns the name, completed from the command line where the kernel
// may have cut it.
func (p procfs) wholeName(pid int32, name string) string {
	if len(name) < maxComm {
		return name
	}
	file, err := os.Open(p.path(pid, "cmdline"))
	if err != nil {
		return name
	}
	defer file.Close()
	line := make([]byte, 4<<10) // a command line can be megabytes
	n, _ := io.ReadFull(file, line)
	program, _, _ := bytes.Cut(line[:n], []byte{0})
	if base := filepath.Base(string(program)); len(base) > len(name) && strings.HasPrefix(base, name) {
		return base
	}
	return name
}

// holders finds the process that holds a socket, by the socket's inode. Only
// the links /proc/PID/fd/N, "socket:[INODE]", say that, and only those that
// this user may read. All processes are looked through at most twice in a run.
type holders struct {
	procfs
	log debugLog

	mutex   sync.Mutex
	walks   int
	err     error            // of the last walk
	isWhole bool             // no process keeps its links from us
	pids    map[uint32]int32 // by inode
	names   map[int32]string // by process id
}

// find looks through all processes, unless that has been done already.
func (h *holders) find(ctx context.Context) error { return h.walk(ctx, 1) }

// findAgain looks for sockets that came after the first look.
func (h *holders) findAgain(ctx context.Context) error { return h.walk(ctx, 2) }

// of returns the process that holds the socket with the inode, 0 where none was
// found, and its name.
func (h *holders) of(inode uint32) (pid int32, name string) {
	h.mutex.Lock()
	pid, found := h.pids[inode]
	h.mutex.Unlock()
	if !found {
		return 0, hidden
	}
	return pid, h.nameOf(pid)
}

// nameOf returns the name of a process, which is looked up once.
func (h *holders) nameOf(pid int32) string {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	name, known := h.names[pid]
	if !known {
		name = h.name(pid)
		h.names[pid] = name
	}
	return name
}

// walk reads the links of all processes, until there have been so many walks. A
// socket that several processes hold is the first one's; /proc lists them by
// their ids.
func (h *holders) walk(ctx context.Context, walks int) error {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	if h.walks >= walks {
		return h.err
	}
	h.walks, h.isWhole = walks, !h.hidesProcesses() && h.seesAll()
	started, seen := time.Now(), 0
	w := walker{holders: h, buffer: make([]byte, 32<<10)}
	err := h.processes(func(pid int32) error {
		seen++
		return errors.Join(ctx.Err(), w.process(pid))
	})
	if err == nil && seen == 0 {
		err = errors.New("there are none under /proc, not even this one") // it is not mounted
	}
	h.log.done("sockets of processes", len(h.pids), err, started)
	if h.err = err; err != nil {
		h.err = fmt.Errorf("finding the processes: %w", cause(err))
	}
	return h.err
}

// walker reads links, with what it needs again and again.
type walker struct {
	*holders
	buffer  []byte
	entries []string
}

// process reads the links of a process. They are those of its first thread.
// Where that has ended, any other one has them too.
func (w *walker) process(pid int32) error {
	links, err := w.links(pid, pid)
	if err != nil || links != 0 {
		return err
	}
	ids, err := w.threads(pid)
	for _, thread := range ids {
		if err == nil && links == 0 {
			links, err = w.links(pid, thread)
		}
	}
	return err
}

// links reads the links of a thread of the process, and returns how many there
// are: none where it has ended, and -1 where it keeps them from us.
func (w *walker) links(pid, thread int32) (links int, err error) {
	folder, err := unix.Open(w.path(thread, "fd"), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err == nil {
		defer unix.Close(folder)
	}
	for n := 1; err == nil && n > 0; {
		if n, err = unix.ReadDirent(folder, w.buffer); err == nil && n > 0 {
			_, _, w.entries = unix.ParseDirent(w.buffer[:n], -1, w.entries[:0])
			links += len(w.entries)
			w.add(pid, folder)
		}
	}
	switch {
	case isDenied(err):
		w.isWhole = false
		return -1, nil
	case err != nil && !isGone(err):
		return links, &os.PathError{Op: "read", Path: w.path(thread, "fd"), Err: err}
	}
	return links, nil
}

// add notes the sockets among the links of a process. One that has been closed
// meanwhile is no longer of interest.
func (w *walker) add(pid int32, folder int) {
	var target [64]byte
	for _, link := range w.entries {
		n, err := unix.Readlinkat(folder, link, target[:])
		w.isWhole = w.isWhole && !isDenied(err)
		if inode, isSocket := parseSocketLink(target[:max(n, 0)]); isSocket && err == nil && w.pids[inode] == 0 {
			w.pids[inode] = pid
		}
	}
}

// parseSocketLink returns the inode in "socket:[INODE]". The kernel's dumps
// have its lower 32 bits (idiag_inode in linux/inet_diag.h).
func parseSocketLink(target []byte) (inode uint32, isSocket bool) {
	digits, isStart := bytes.CutPrefix(target, []byte("socket:["))
	digits, isEnd := bytes.CutSuffix(digits, []byte("]"))
	number := uint64(0)
	for _, digit := range digits {
		if digit < '0' || digit > '9' {
			return 0, false
		}
		number = number*10 + uint64(digit-'0')
	}
	return uint32(number), isStart && isEnd && len(digits) > 0
}
