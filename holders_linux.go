package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// holders finds the processes that hold a socket, by the socket's inode. Only
// the links /proc/PID/fd/N, "socket:[INODE]", say that, and only those that
// this user may read. All processes are looked through at most twice in a run.
type holders struct {
	procfs
	log      debugLog
	nameUser func(id uint32) string

	mutex   sync.Mutex
	walks   int
	err     error                      // of the last walk
	isWhole bool                       // no process keeps its links from us
	first   map[uint32]int32           // the first process that holds the inode; /proc lists them by their ids
	others  map[uint32][]int32         // the other ones
	single  map[int32]owner            // of what only that process holds
	shared  map[uint32]owner           // of what several processes hold, by inode
	later   map[int32]map[uint32]int32 // the links of processes after they were named, nil where they are not to be seen
	delayed time.Duration              // what reading names has cost that can block
	unread  error                      // why a process that is there could not be named
}

func newHolders(proc procfs, log debugLog, nameUser func(uint32) string) *holders {
	return &holders{procfs: proc, log: log, nameUser: nameUser,
		first: map[uint32]int32{}, others: map[uint32][]int32{}, single: map[int32]owner{}, shared: map[uint32]owner{}, later: map[int32]map[uint32]int32{}}
}

// find looks through all processes, unless that has been done already.
func (h *holders) find(ctx context.Context) error { return h.walk(ctx, 1) }

// findAgain looks for sockets that came after the first look, and for those in
// the tables of threads that do not share theirs.
func (h *holders) findAgain(ctx context.Context) error { return h.walk(ctx, 2) }

// of returns who holds the socket with the inode: hidden where nobody was found.
func (h *holders) of(inode uint32) (found owner, isFound bool) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	pid, isFound := h.first[inode]
	if !isFound {
		return owner{process: hidden}, false
	}
	if len(h.others[inode]) == 0 {
		return h.alone(pid), true
	}
	found, isKnown := h.shared[inode]
	if !isKnown {
		found = h.together(inode, append([]int32{pid}, h.others[inode]...))
		h.shared[inode] = found
	}
	return found, true
}

// ofProcess returns the process as a holder.
func (h *holders) ofProcess(pid int32) owner {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	return h.alone(pid)
}

func (h *holders) alone(pid int32) owner {
	one, isKnown := h.single[pid]
	if !isKnown {
		name := h.name(pid)
		one = owner{process: name, holders: []holder{{pid, name, h.runsAs(pid)}}}
		h.single[pid] = one
	}
	return one
}

// together returns the processes as the holders of a socket. Between fork and
// exec a child has all that its parent holds: where the names differ, whoever has
// closed the socket by now does not count.
func (h *holders) together(inode uint32, pids []int32) owner {
	var all []holder
	for _, pid := range pids {
		all = append(all, h.alone(pid).holders...)
	}
	if slices.ContainsFunc(all, func(one holder) bool { return one.name != all[0].name }) {
		still := slices.DeleteFunc(slices.Clone(all), func(one holder) bool { return !h.holdsStill(one.pid, inode) })
		if len(still) > 0 {
			all = still
		}
	}
	return sharedBy(all)
}

// holdsStill tells whether a process that has been named still holds the socket,
// as far as this user may see that. Its links are read again once.
func (h *holders) holdsStill(pid int32, inode uint32) bool {
	links, isKnown := h.later[pid]
	if !isKnown {
		later := newHolders(h.procfs, h.log, h.nameUser)
		later.isWhole, later.walks = true, 2
		w := walker{holders: later, buffer: make([]byte, 32<<10)}
		if err := w.process(pid); err == nil && later.isWhole {
			links = later.first
		}
		h.later[pid] = links
	}
	_, isThere := links[inode]
	return isThere || links == nil
}

// name returns the name of a process, hidden where it cannot be read or the
// process has ended. The kernel may have cut it: the program's link has the
// rest, or else the command line has.
func (h *holders) name(pid int32) string {
	content, err := h.read(strconv.Itoa(int(pid))+"/comm", 64)
	if err != nil {
		return hidden
	}
	name := string(bytes.TrimSuffix(content, []byte("\n")))
	if len(name) >= maxComm {
		program, _ := os.Readlink(h.path(pid, "exe"))
		program = strings.TrimSuffix(program, " (deleted)") // by an upgrade of its package
		if !isWhole(name, program) {
			program = h.commandOf(pid)
		}
		if isWhole(name, program) {
			name = filepath.Base(program)
		}
	}
	return givenName(name)
}

// read reads a file under /proc. A process without a name is a hidden one, but not
// where only descriptors are missing.
func (h *holders) read(name string, size int) ([]byte, error) {
	content, err := h.procfs.read(name, size)
	if isOutOfFiles(err) {
		h.unread = fmt.Errorf("naming the processes: %w", cause(err))
	}
	return content, err
}

// isWhole tells whether the program has the name that was cut.
func isWhole(name, program string) bool {
	base := filepath.Base(program)
	return len(base) > len(name) && strings.HasPrefix(base, name)
}

// maxDelay is how long reading command lines may take in all: it blocks while a
// process is in a page fault that does not end (FUSE, NFS).
const maxDelay = 100 * time.Millisecond

// commandOf returns the first word of the command line of a process.
func (h *holders) commandOf(pid int32) string {
	if h.delayed >= maxDelay {
		return ""
	}
	started, found := time.Now(), make(chan string, 1)
	go func() {
		line := make([]byte, 4<<10) // a command line can be megabytes
		n := 0
		if file, err := os.Open(h.path(pid, "cmdline")); err == nil {
			defer file.Close()
			n, _ = io.ReadFull(file, line)
		}
		program, _, _ := bytes.Cut(line[:n], []byte{0})
		found <- string(program)
	}()
	defer func() { h.delayed += time.Since(started) }()
	select {
	case program := <-found:
		return program
	case <-time.After(maxDelay - h.delayed):
		return ""
	}
}

// runsAs returns the name of the user that the process runs as, hidden where it
// cannot be read: the second of the ids in /proc/PID/status, see proc(5).
func (h *holders) runsAs(pid int32) string {
	content, _ := h.read(strconv.Itoa(int(pid))+"/status", 4<<10)
	for line := range strings.Lines(string(content)) {
		words := strings.Fields(line)
		if len(words) < 3 || words[0] != "Uid:" {
			continue
		}
		if id, err := strconv.ParseUint(words[2], 10, 32); err == nil {
			return h.nameUser(uint32(id))
		}
	}
	return hidden
}

// walk reads the links of all processes, unless there have been that many walks.
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
	clear(h.shared)
	clear(h.later)
	h.log.done(len(h.first), err, started, "sockets of processes")
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
	if err != nil || links < 0 || links > 0 && w.walks == 1 {
		return err
	}
	ids, err := w.threads(pid)
	for _, thread := range ids {
		if err == nil && (links == 0 || !sharesTable(pid, thread)) {
			var more int
			more, err = w.links(pid, thread)
			links += max(more, 0)
		}
	}
	return err
}

// sharesTable tells whether two threads have the same table of descriptors, as
// all have that did not ask for their own (CLONE_FILES in linux/sched.h). It is
// kcmp(2) with KCMP_FILES; where that is forbidden, they are taken to.
func sharesTable(thread, other int32) bool {
	const kcmpFiles = 2 // linux/kcmp.h
	order, _, failed := unix.Syscall6(unix.SYS_KCMP, uintptr(thread), uintptr(other), kcmpFiles, 0, 0, 0)
	return failed != 0 || order == 0
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
		inode, isSocket := parseSocketLink(target[:max(n, 0)])
		if err != nil || !isSocket {
			continue
		}
		first, isThere := w.first[inode]
		switch {
		case !isThere:
			w.first[inode] = pid
		case first != pid && !slices.Contains(w.others[inode], pid):
			w.others[inode] = append(w.others[inode], pid)
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
