package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// nameOf returns the name of a namespace, hidden where this user may not see it.
func (f namespaceFinder) nameOf(space namespace) (string, error) {
	given, _ := f.givenNames()
	var populations map[uint64]*population
	if !f.hidesProcesses() { // the oldest one may be among them
		var err error
		if populations, err = f.populations(); isOutOfFiles(err) {
			return "", fmt.Errorf("the network namespace cannot be named: %w", err)
		}
	}
	for id, p := range populations {
		if p.inode == space.inode || space.isOwn() && id == f.ownID() {
			return f.nameFor(p, given[space.inode]), nil
		}
	}
	if name := given[space.inode]; name != "" {
		return givenName(name), nil
	}
	return hidden, nil
}

// nameFor returns the name of a namespace by its processes: the name of the host
// that they believe to be on where that is not ours (a pod's, a container's id),
// else the one that was given, else that of the oldest.
func (f namespaceFinder) nameFor(p *population, given string) string {
	if name := f.hostName(p.oldest); name != "" {
		return givenName(name)
	}
	if given != "" {
		return givenName(given)
	}
	return f.nameProcess(p.oldest)
}

// hostName returns the host name in the UTS namespace of a process, "" where
// that is ours or cannot be read.
func (f namespaceFinder) hostName(pid int32) string {
	own, err := os.Stat(filepath.Join(string(f.procfs), "self/ns/uts"))
	if err != nil {
		return ""
	}
	file, err := os.Open(f.path(pid, "ns/uts"))
	if err != nil {
		return ""
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil || inodeOf(info) == inodeOf(own) {
		return ""
	}
	var name unix.Utsname
	err = runInside(file, unix.CLONE_NEWUTS, "/proc/thread-self/ns/uts", func() error { return unix.Uname(&name) })
	if err != nil {
		return ""
	}
	return unix.ByteSliceToString(name.Nodename[:])
}

// population is the processes in a network namespace.
type population struct {
	inode   uint64   // of the namespace, 0 where no process lets us see it
	file    *os.File // that keeps it, nil where no more files can be open
	paths   []string // /proc/PID/ns/net of the processes that let us
	denied  error    // why another one does not
	oldest  int32    // process id
	started uint64   // when the oldest began, in clock ticks after boot
}

// maxLooks is how often the list of processes is read until it has no new ones.
const maxLooks = 100

var errTooFast = errors.New("processes come and go faster than they can be looked at, so not all network namespaces are seen")

// populations returns the processes of each network namespace, by netnsID. A
// process may hand its namespace on and end before it is looked at, so it looks
// again until there is no new one.
func (f namespaceFinder) populations() (map[uint64]*population, error) {
	all, seen := map[uint64]*population{}, map[int32]bool{}
	for range maxLooks {
		known := len(seen)
		err := f.processes(func(pid int32) error {
			if seen[pid] {
				return nil
			}
			seen[pid] = true
			return f.add(all, pid)
		})
		if err != nil || len(seen) == known {
			return all, err
		}
	}
	return nil, errTooFast
}

// add notes a process, unless it has ended.
func (f namespaceFinder) add(all map[uint64]*population, pid int32) error {
	thread, id, err := f.liveThread(pid)
	if isGone(err) {
		return nil
	}
	if err != nil {
		return notAllSeen(err)
	}
	p := all[id]
	if p == nil {
		p = &population{}
		all[id] = p
	}
	path := f.path(thread, "ns/net")
	info, err := os.Stat(path)
	if p.file == nil && err == nil && id != f.ownID() {
		if p.file, err = os.Open(path); err == nil {
			info, err = p.file.Stat()
		} else if errors.Is(err, unix.EMFILE) {
			err = nil
		}
	}
	switch err = whyRefused(path, err); {
	case isGone(err):
		return nil
	case err != nil:
		p.denied = err
	default:
		p.inode = inodeOf(info)
		p.paths = append(p.paths, path)
	}
	if started := f.started(pid); started > 0 && (p.oldest == 0 || started < p.started) {
		p.oldest, p.started = pid, started
	}
	return nil
}

// liveThread returns a thread of the process that has not ended, as the first
// one can before the others, and its netnsID.
func (p procfs) liveThread(pid int32) (thread int32, id uint64, err error) {
	if id, err = p.netnsID(pid); !isGone(err) {
		return pid, id, err
	}
	ids, err := p.threads(pid)
	for _, thread := range ids {
		if id, err := p.netnsID(thread); err == nil {
			return thread, id, nil
		}
	}
	return 0, 0, cmp.Or(err, error(unix.ESRCH))
}

// netnsID returns a number that tells the network namespace of a process from
// others: the inode of one of its files under /proc/PID/net, which everybody
// may see, unlike /proc/PID/ns/net.
func (p procfs) netnsID(pid int32) (uint64, error) {
	info, err := os.Stat(p.path(pid, "net/dev"))
	if err != nil {
		return 0, err
	}
	return inodeOf(info), nil
}

func (p procfs) ownID() uint64 {
	info, err := os.Stat(filepath.Join(string(p), "self/net/dev"))
	if err != nil {
		return 0
	}
	return inodeOf(info)
}

// started returns when the process began, in clock ticks after boot, 0 where it
// has ended: field 22 of /proc/PID/stat.
func (p procfs) started(pid int32) (ticks uint64) {
	if words := p.statOf(pid); len(words) >= 20 {
		ticks, _ = strconv.ParseUint(words[19], 10, 64)
	}
	return ticks
}
