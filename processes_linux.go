package main

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// procfs is where the proc file system is.
type procfs string

func (p procfs) path(pid int32, name string) string {
	return filepath.Join(string(p), strconv.Itoa(int(pid)), name)
}

// read returns up to size bytes of a file below the root, with one buffer: some files
// give only what fits into the first read. It does without the os package, which has
// the runtime watch every file.
func (p procfs) read(name string, size int) ([]byte, error) {
	path := filepath.Join(string(p), name)
	file, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(file)
	content := make([]byte, size)
	length := 0
	for length < size {
		n, err := unix.Read(file, content[length:])
		if err != nil && !errors.Is(err, unix.EINTR) {
			return nil, &os.PathError{Op: "read", Path: path, Err: err}
		}
		if err == nil && n <= 0 {
			break
		}
		length += max(n, 0)
	}
	return content[:length], nil
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
// Each has a folder under /proc, but /proc does not list it.
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

// seesAll tells whether the processes are those of the host, and not only those of
// a container: only the first PID namespace has the kernel's own threads, of which
// the second process is one (PF_KTHREAD in include/linux/sched.h; field 9 of
// /proc/PID/stat, see proc_pid_stat(5)).
func (p procfs) seesAll() bool {
	const kernelThread = 0x00200000
	words := p.statOf(2)
	if len(words) < 7 {
		return false
	}
	flags, err := strconv.ParseUint(words[6], 10, 64)
	return err == nil && flags&kernelThread != 0
}

// statOf returns the fields of /proc/PID/stat from the third one on: the second,
// the name of the process, may hold anything. There are none where it has ended.
func (p procfs) statOf(pid int32) []string {
	content, _ := p.read(strconv.Itoa(int(pid))+"/stat", 1<<10)
	_, rest, _ := cutLast(string(content), ")")
	return strings.Fields(rest)
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
	content, err := p.read("self/uid_map", 1<<10)
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

// isOutOfFiles tells whether this process, or all together, have too many open files.
func isOutOfFiles(err error) bool { return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) }

func isDenied(err error) bool { return errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) }
