package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// holders finds the process that holds a socket, by the socket's inode. Only
// the links /proc/PID/fd/N, "socket:[INODE]", say that, and only those that
// this user may read.
type holders struct {
	ctx     context.Context // ends the search
	once    sync.Once
	err     error
	pids    map[uint32]int32 // by inode; pidUnseen for one that was not found
	isWhole bool             // no process kept its links from us
	log     debugLog
}

// maxLate is how many sockets of a dump are looked for once more.
const maxLate = 10_000

// find reads the links of all processes, at the first call.
func (h *holders) find() error {
	h.once.Do(func() {
		started := time.Now()
		if err := h.walk(); err != nil {
			h.err = fmt.Errorf("finding the processes: %w", cause(err))
		}
		h.log.printf("processes: %d sockets found under /proc, of all processes: %t, error %s, in %s", len(h.pids), h.isWhole, faultText(h.err), took(started))
	})
	return h.err
}

// walk reads the links of all processes. A socket that several processes hold
// is the first one's; /proc lists them by their ids.
func (h *holders) walk() error {
	h.pids = map[uint32]int32{}
	// Where not even the first process is there, others are hidden too
	// (hidepid, see proc(5)).
	_, hidden := os.Stat("/proc/1")
	h.isWhole = hidden == nil && seesAllProcesses()
	w := walker{holders: h, buffer: make([]byte, 32<<10)}
	processes := 0
	err := eachProcess(func(pid int32) error {
		if err := h.ctx.Err(); err != nil {
			return err
		}
		processes++
		links, err := w.links(pid, pid)
		if err == nil && links == 0 {
			// The links are those of the first thread. Where it has ended, those of
			// the process are to be had from any other one, which shares them.
			var ids []int32
			ids, err = threads(pid)
			for _, thread := range ids {
				if links, err = w.links(pid, thread); err != nil || links != 0 {
					break
				}
			}
		}
		return err
	})
	if err == nil && processes == 0 {
		err = errors.New("there are none under /proc, not even this one") // it is not mounted
	}
	return err
}

// walker reads links, with what it needs again and again.
type walker struct {
	*holders
	buffer  []byte
	entries []string
}

// links reads the links of a thread of the process, and returns how many there
// are: none where it has ended, and -1 where it keeps them from us.
func (w *walker) links(pid, thread int32) (links int, err error) {
	folder, err := unix.Open(procPath(thread, "fd"), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	for err == nil {
		var n int
		if n, err = unix.ReadDirent(folder, w.buffer); err != nil || n <= 0 {
			break
		}
		_, _, w.entries = unix.ParseDirent(w.buffer[:n], -1, w.entries[:0])
		links += len(w.entries)
		w.add(pid, folder, w.entries)
	}
	if folder >= 0 {
		_ = unix.Close(folder)
	}
	switch {
	case errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM):
		w.isWhole = false
		return -1, nil
	case err != nil && !isGone(err):
		return links, &os.PathError{Op: "read", Path: procPath(thread, "fd"), Err: err}
	}
	return links, nil
}

// threads returns the ids of the threads of a process but for the first one.
// Each has a folder under /proc, which only does not list it.
func threads(pid int32) (ids []int32, err error) {
	entries, err := os.ReadDir(procPath(pid, "task"))
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

// add notes the sockets among the links of a process. One that has been closed
// meanwhile is no longer of interest.
func (h *holders) add(pid int32, folder int, links []string) {
	var target [64]byte
	for _, link := range links {
		n, err := unix.Readlinkat(folder, link, target[:])
		if err != nil {
			if errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) {
				h.isWhole = false
			}
			continue
		}
		if inode, isSocket := parseSocketLink(target[:n]); isSocket {
			if _, known := h.pids[inode]; !known {
				h.pids[inode] = pid
			}
		}
	}
}

// parseSocketLink returns the inode in "socket:[INODE]". The kernel's dumps
// have its lower 32 bits (idiag_inode in linux/inet_diag.h).
func parseSocketLink(target []byte) (inode uint32, isSocket bool) {
	digits, found := bytes.CutPrefix(target, []byte("socket:["))
	if !found {
		return 0, false
	}
	digits, found = bytes.CutSuffix(digits, []byte("]"))
	if !found || len(digits) == 0 {
		return 0, false
	}
	number := uint64(0)
	for _, digit := range digits {
		if digit < '0' || digit > '9' {
			return 0, false
		}
		number = number*10 + uint64(digit-'0')
	}
	return uint32(number), true
}

// eachProcess calls the function with the id of each process until it returns
// an error.
func eachProcess(do func(pid int32) error) error {
	proc, err := os.Open("/proc")
	if err != nil {
		return err
	}
	defer proc.Close()
	entries, err := proc.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if pid, err := strconv.ParseInt(entry, 10, 32); err == nil {
			if err := do(int32(pid)); err != nil {
				return err
			}
		}
	}
	return nil
}

// seesAllProcesses tells whether this process is in the first PID namespace: one
// in another, that of a container, sees the processes of that one only.
func seesAllProcesses() bool {
	const first = 0xEFFFFFFC // PROC_PID_INIT_INO in include/linux/proc_ns.h
	info, err := os.Stat("/proc/self/ns/pid")
	return err == nil && inodeOfInfo(info) == first
}

// isGone tells whether the error says that a process has ended.
func isGone(err error) bool { return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) }

func procPath(pid int32, name string) string {
	return filepath.Join("/proc", strconv.Itoa(int(pid)), name)
}

// userMap is the users that have ids of their own in the user namespace of this
// process, see user_namespaces(7).
type userMap struct {
	first, size []uint64
	others      uint64 // the id by which all other users are shown
}

// readUserMap returns the map, nil where all users have ids of their own, as in
// the first user namespace.
func readUserMap() *userMap {
	const all = 1<<32 - 1
	content, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return nil
	}
	m := userMap{others: 65534} // DEFAULT_OVERFLOWUID in linux/highuid.h
	for line := range strings.Lines(string(content)) {
		var first, outside, size uint64
		if _, err := fmt.Sscan(line, &first, &outside, &size); err != nil || size >= all {
			return nil
		}
		m.first, m.size = append(m.first, first), append(m.size, size)
	}
	if content, err := os.ReadFile("/proc/sys/kernel/overflowuid"); err == nil {
		_, _ = fmt.Sscan(string(content), &m.others)
	}
	return &m
}

// isSure tells whether a user, by name or id, is shown as himself and as nobody
// else.
func (m *userMap) isSure(name string) bool {
	id, err := strconv.ParseUint(name, 10, 32)
	if err != nil {
		account, err := user.Lookup(name)
		if err != nil {
			return false
		}
		id, _ = strconv.ParseUint(account.Uid, 10, 32)
	}
	for i, first := range m.first {
		if first <= id && id < first+m.size[i] {
			return id != m.others
		}
	}
	return false
}

// isSureUser tells whether a user, by name or id, is shown as himself and as
// nobody else.
func isSureUser(name string) bool {
	mapped := readUserMap()
	return mapped == nil || mapped.isSure(name)
}

// procNames looks names up under /proc and in the user database, each once.
type procNames struct {
	processes map[int32]string
	users     map[int64]string
	mapped    *userMap // nil where all users are
}

func newProcNames() *procNames {
	return &procNames{processes: map[int32]string{}, users: map[int64]string{}}
}

func (n *procNames) process(pid int32) string {
	name, known := n.processes[pid]
	if !known {
		name = readProcessName(pid)
		n.processes[pid] = name
	}
	return name
}

// readProcessName returns the name of a process, or nothing where it has ended,
// and with it its sockets.
func readProcessName(pid int32) string {
	content, err := os.ReadFile(procPath(pid, "comm"))
	if isGone(err) {
		return nothing
	}
	if err != nil {
		return unseen
	}
	return outsideName(wholeName(pid, string(bytes.TrimSuffix(content, []byte("\n")))))
}

// wholeName returns the name, completed from the command line where the kernel
// may have cut it.
func wholeName(pid int32, name string) string {
	if len(name) < maxComm {
		return name
	}
	file, err := os.Open(procPath(pid, "cmdline"))
	if err != nil {
		return name
	}
	defer file.Close()
	line := make([]byte, 4<<10) // a command line can be megabytes
	n, _ := io.ReadFull(file, line)
	program, _, _ := bytes.Cut(line[:n], []byte{0})
	if base := filepath.Base(string(program)); len(base) > len(name) && base[:len(name)] == name {
		return base
	}
	return name
}

// user returns the name of the user, or the id where it has none.
func (n *procNames) user(uid int64, _ int32) string {
	if uid == uidUnseen || n.mapped != nil && uint64(uid) == n.mapped.others {
		return unseen
	}
	name, known := n.users[uid]
	if !known {
		name = strconv.FormatInt(uid, 10)
		if account, known := userOf(name); known {
			name = outsideName(account)
		}
		n.users[uid] = name
	}
	return name
}
