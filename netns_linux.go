package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// netnsFolder is where iproute2 keeps the names of network namespaces.
const netnsFolder = "/run/netns"

// errVanished says that a network namespace is no longer there, and no longer
// of interest.
var errVanished = errors.New("the network namespace is gone")

// namespace is a network namespace. The zero value is that of this process.
type namespace struct {
	name  string   // "" where nobody needs it
	inode uint64   // tells namespaces apart
	paths []string // files that stand for it, as long as they exist; none for our own
	file  *os.File // that keeps it, nil where it has to be opened

	// mayVanish is for one of all namespaces, which is no longer of interest
	// when nothing stands for it any more.
	mayVanish bool
}

func (n namespace) isOwn() bool { return len(n.paths) == 0 }

// open returns a descriptor of the namespace. The error is errVanished where
// nothing stands for it any more and nobody needs it.
func (n namespace) open() (*os.File, error) {
	fault := errors.New("the network namespace is gone")
	if n.mayVanish {
		fault = errVanished
	}
	for _, path := range n.paths {
		file, err := os.Open(path)
		if err != nil {
			if err = whyRefused(path, err); !isGone(err) {
				fault = netnsRights(err)
			}
			continue
		}
		// The process id may belong to another process by now.
		if info, err := file.Stat(); err == nil && inodeOf(info) == n.inode {
			return file, nil
		}
		_ = file.Close()
	}
	return nil, fault
}

// whyRefused returns why the file for a namespace of a process cannot be looked at.
// The kernel denies it also where the process has ended meanwhile
// (proc_ns_get_link in fs/proc/namespaces.c).
func whyRefused(path string, err error) error {
	if !isDenied(err) {
		return err
	}
	if _, fault := os.Lstat(path); fault != nil {
		return fault
	}
	return err
}

func inodeOf(info fs.FileInfo) uint64 { return info.Sys().(*syscall.Stat_t).Ino }

// within runs the function in the namespace, on this thread, which goes back to
// where it was afterwards.
func (n namespace) within(do func() error) error {
	if n.isOwn() {
		return do()
	}
	file := n.file
	if file == nil {
		var err error
		if file, err = n.open(); err != nil {
			return err
		}
		defer file.Close()
	}
	return runInside(file, unix.CLONE_NEWNET, "/proc/thread-self/ns/net", do)
}

// runInside runs the function in a namespace of the kind (CLONE_NEW… in
// linux/sched.h), on this thread, which goes back to its own one afterwards: it
// may be the first one, whose namespaces are those of /proc/self. In a user
// namespace of its own a program may leave the host's network, and not come back.
func runInside(file *os.File, kind int, own string, do func() error) error {
	runtime.LockOSThread()
	back, err := unix.Open(own, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		runtime.UnlockOSThread()
		return &os.PathError{Op: "open", Path: own, Err: err}
	}
	defer unix.Close(back)
	err = unix.Setns(back, kind) // it must be possible to come back
	if err == nil {
		err = unix.Setns(int(file.Fd()), kind)
	}
	if err != nil {
		runtime.UnlockOSThread()
		return netnsRights(&os.PathError{Op: "setns", Path: file.Name(), Err: err})
	}
	defer func() {
		// A thread that cannot go back stays locked, and ends with its goroutine.
		if unix.Setns(back, kind) == nil {
			runtime.UnlockOSThread()
		}
	}()
	return do()
}

// dial opens a netlink socket in the namespace.
func (n namespace) dial(ctx context.Context) (fd int, err error) {
	err = n.within(func() (err error) {
		fd, err = dialNetlink(ctx)
		return err
	})
	return fd, err
}

// netnsRights names the rights that are missing, where that is why a network
// namespace cannot be opened or entered.
func netnsRights(err error) error {
	switch {
	case !isDenied(err):
		return err
	case os.Geteuid() == 0:
		return fmt.Errorf("not even root may read this network namespace here: %w", err)
	}
	return fmt.Errorf("reading another network namespace needs root, or CAP_SYS_ADMIN and CAP_SYS_PTRACE on the file: %w", err)
}

// notAllSeen says that a process cannot be looked at, so that it is not known which
// network namespace it is in.
func notAllSeen(err error) error {
	rights := ""
	if os.Geteuid() != 0 {
		rights = " (root may see them)"
	}
	return fmt.Errorf("not all processes are seen here%s, and so not all network namespaces: %w", rights, err)
}

// namespaceFinder finds network namespaces.
type namespaceFinder struct {
	procfs
	folder      string // with the names that were given
	nameProcess func(pid int32) string
}

// find returns the namespaces that --netns asks for, each once. They have names
// where they are needed.
func (f namespaceFinder) find(wanted string, needNames bool) ([]namespace, error) {
	if wanted == netnsSelf && !needNames {
		return []namespace{{}}, nil
	}
	info, err := os.Stat(filepath.Join(string(f.procfs), "self/ns/net"))
	if err != nil {
		return nil, fmt.Errorf("the network namespace is not known: %w", err)
	}
	own := inodeOf(info)
	switch wanted {
	case netnsAll:
		return f.all(own)
	case netnsSelf:
		name, err := f.nameOf(namespace{inode: own})
		return []namespace{{inode: own, name: name}}, err
	}
	one, err := f.one(wanted, own)
	if errors.Is(err, errNoNamespace) && !strings.Contains(wanted, "/") { // a name as it is shown
		all, fault := f.all(own)
		all = slices.DeleteFunc(all, func(n namespace) bool { return n.name != wanted && cleanName(n.name) != wanted })
		if len(all) > 0 {
			return all, nil
		}
		if fault != nil {
			err = fmt.Errorf("%w, and names as they are shown cannot be looked up: %w", err, fault)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("--netns: %s: %w", quote(wanted), err)
	}
	if needNames {
		one.name, err = f.nameOf(one)
	}
	return []namespace{one}, err
}

var errNoNamespace = errors.New("there is no network namespace of this name, process id or path")

// one returns the namespace for a name, a process id or a path. own is the inode
// of ours, which needs no rights.
func (f namespaceFinder) one(wanted string, own uint64) (namespace, error) {
	path := filepath.Join(f.folder, wanted)
	if strings.Contains(wanted, "/") {
		path = wanted
	} else if pid, err := strconv.ParseInt(wanted, 10, 32); err == nil && !isNamespace(path) {
		thread, id, err := f.liveThread(int32(pid))
		if err == nil && id == f.ownID() {
			return namespace{inode: own}, nil
		}
		path = f.path(max(thread, 0), "ns/net")
	}
	info, err := os.Stat(path)
	switch err = whyRefused(path, err); {
	case isGone(err):
		return namespace{}, errNoNamespace
	case err != nil:
		return namespace{}, netnsRights(err)
	case !isNamespace(path):
		return namespace{}, errors.New("this is not a network namespace")
	case inodeOf(info) == own:
		return namespace{inode: own}, nil
	}
	return namespace{inode: inodeOf(info), paths: []string{path}}, nil
}

// isNamespace tells whether the file stands for a network namespace, as far as it
// may be opened; what is left of one under /run/netns is an ordinary file.
func isNamespace(path string) bool {
	var status unix.Statfs_t
	if unix.Statfs(path, &status) != nil || int64(status.Type) != unix.NSFS_MAGIC {
		return false
	}
	file, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return true
	}
	defer unix.Close(file)
	kind, err := unix.IoctlRetInt(file, unix.NS_GET_NSTYPE) // Linux 4.11
	return err != nil || kind == unix.CLONE_NEWNET
}

// all returns every network namespace that was given a name or has a process in
// it. own is the inode of ours.
func (f namespaceFinder) all(own uint64) ([]namespace, error) {
	given, err := f.givenNames()
	if err == nil && f.hidesProcesses() {
		err = notAllSeen(fmt.Errorf("%s is not there", f.path(1, "")))
	}
	if err != nil {
		return nil, err
	}
	if !f.seesAll() {
		return nil, errors.New("from inside a container's PID namespace not all network namespaces are seen: run the check on the host, or give the container --pid=host")
	}
	populations, err := f.populations()
	if err != nil {
		return nil, err
	}
	var all []namespace
	for id, p := range populations {
		space := namespace{inode: p.inode, paths: p.paths, file: p.file, mayVanish: true}
		switch {
		case id == f.ownID():
			space = namespace{inode: own}
		case space.inode == 0 && p.denied != nil:
			return nil, netnsRights(p.denied)
		case space.inode == 0: // all of its processes have ended meanwhile
			continue
		}
		space.name = f.nameFor(p, given[space.inode])
		if file := given[space.inode]; file != "" && !space.isOwn() { // it may outlive the processes
			space.paths = append(space.paths, filepath.Join(f.folder, file))
		}
		delete(given, space.inode)
		all = append(all, space)
	}
	for inode, name := range given {
		all = append(all, namespace{name: givenName(name), inode: inode, paths: []string{filepath.Join(f.folder, name)}, mayVanish: true})
	}
	slices.SortFunc(all, func(a, b namespace) int { return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.inode, b.inode)) })
	return all, nil
}

// givenNames returns the names in the folder, by the inode of the namespace.
func (f namespaceFinder) givenNames() (map[uint64]string, error) {
	names := map[uint64]string{}
	entries, err := os.ReadDir(f.folder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, entry := range entries {
		path := filepath.Join(f.folder, entry.Name())
		info, err := os.Stat(path)
		if err != nil && !isGone(err) {
			return nil, err
		}
		if err == nil && isNamespace(path) {
			names[inodeOf(info)] = entry.Name()
		}
	}
	return names, nil
}
