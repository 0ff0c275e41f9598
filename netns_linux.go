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
			if !isGone(err) {
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

func inodeOf(info fs.FileInfo) uint64 { return info.Sys().(*syscall.Stat_t).Ino }

// within runs the function in the namespace, on this thread, which goes back to
// where it was afterwards.
func (n namespace) within(do func() error) error {
	if n.isOwn() {
		return do()
	}
	file, err := n.open()
	if err != nil {
		return err
	}
	defer file.Close()
	runtime.LockOSThread()
	own, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		runtime.UnlockOSThread()
		return &os.PathError{Op: "open", Path: "/proc/thread-self/ns/net", Err: err}
	}
	defer unix.Close(own)
	if err := unix.Setns(int(file.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return netnsRights(err)
	}
	defer func() {
		// A thread that cannot go back stays locked, and ends with its goroutine.
		if unix.Setns(own, unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
	}()
	return do()
}

// dial returns a socket to ask the kernel about the sockets of the namespace by.
func (n namespace) dial(ctx context.Context) (socket int, err error) {
	err = n.within(func() (err error) {
		socket, err = dialNetlink(ctx)
		return err
	})
	return socket, err
}

// netnsRights names the rights that are missing, where that is the error.
func netnsRights(err error) error {
	switch {
	case !errors.Is(err, fs.ErrPermission):
		return err
	case os.Geteuid() == 0:
		return errors.New("not even root may read this network namespace here")
	}
	return errors.New("reading another network namespace needs root, or CAP_SYS_ADMIN and CAP_SYS_PTRACE on the file")
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
		return []namespace{{inode: own, name: f.nameOf(namespace{inode: own})}}, nil
	}
	one, err := f.one(wanted, own)
	if errors.Is(err, errNoNamespace) && !strings.Contains(wanted, "/") { // a name as it is shown
		all, fault := f.all(own)
		all = slices.DeleteFunc(all, func(n namespace) bool { return n.name != wanted && cleanName(n.name) != wanted })
		if len(all) > 0 {
			return all, nil
		}
		err = cmp.Or(fault, err)
	}
	if err != nil {
		return nil, fmt.Errorf("--netns: %s: %w", quote(wanted), err)
	}
	if needNames {
		one.name = f.nameOf(one)
	}
	return []namespace{one}, nil
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
	switch {
	case isGone(err):
		return namespace{}, errNoNamespace
	case err != nil:
		return namespace{}, netnsRights(cause(err))
	case !isNamespace(path):
		return namespace{}, errors.New("this is not a network namespace")
	case inodeOf(info) == own:
		return namespace{inode: own}, nil
	}
	return namespace{inode: inodeOf(info), paths: []string{path}}, nil
}

// isNamespace tells whether the file stands for a namespace; what is left of
// one under /run/netns is an ordinary file.
func isNamespace(path string) bool {
	var status unix.Statfs_t
	return unix.Statfs(path, &status) == nil && int64(status.Type) == unix.NSFS_MAGIC
}

// all returns every network namespace that was given a name or has a process in
// it. own is the inode of ours.
func (f namespaceFinder) all(own uint64) ([]namespace, error) {
	given, err := f.givenNames()
	if err == nil && f.hidesProcesses() {
		err = fs.ErrPermission
	}
	if err != nil {
		return nil, netnsRights(err)
	}
	if !f.seesAll() {
		return nil, errors.New("not all network namespaces are seen from a PID namespace, that of a container: run the check on the host, or give the container --pid=host")
	}
	populations, err := f.populations()
	if err != nil {
		return nil, err
	}
	var all []namespace
	for id, p := range populations {
		space := namespace{inode: p.inode, paths: p.paths, mayVanish: true}
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

// nameOf returns the name of a namespace, hidden where it cannot be told.
func (f namespaceFinder) nameOf(space namespace) string {
	given, _ := f.givenNames()
	populations, _ := f.populations()
	for id, p := range populations {
		if p.inode == space.inode || space.isOwn() && id == f.ownID() {
			return f.nameFor(p, given[space.inode])
		}
	}
	if name := given[space.inode]; name != "" {
		return givenName(name)
	}
	return hidden
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
	found := make(chan string)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		var name unix.Utsname
		if err := unix.Setns(int(file.Fd()), unix.CLONE_NEWUTS); err != nil || unix.Uname(&name) != nil {
			found <- ""
			return
		}
		found <- unix.ByteSliceToString(name.Nodename[:])
	}()
	return <-found
}

// population is the processes in a network namespace.
type population struct {
	inode   uint64   // of the namespace, 0 where no process lets us see it
	paths   []string // /proc/PID/ns/net of the processes that let us
	denied  error    // why another one does not
	oldest  int32    // process id
	started uint64   // when the oldest began, in clock ticks after boot
}

// populations returns the processes of each network namespace, by netnsID.
func (f namespaceFinder) populations() (map[uint64]*population, error) {
	all := map[uint64]*population{}
	err := f.processes(func(pid int32) error {
		thread, id, err := f.liveThread(pid)
		if isGone(err) {
			return nil
		}
		if err != nil {
			return netnsRights(err)
		}
		p := all[id]
		if p == nil {
			p = &population{}
			all[id] = p
		}
		path := f.path(thread, "ns/net")
		info, err := os.Stat(path)
		switch {
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
	})
	return all, err
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
// has ended: field 22
// of /proc/PID/stat, see proc_pid_stat(5). The second field, the name of the
// process, may hold anything.
func (p procfs) started(pid int32) (ticks uint64) {
	content, _ := p.read(strconv.Itoa(int(pid))+"/stat", 1<<10)
	_, rest, _ := cutLast(string(content), ")")
	if words := strings.Fields(rest); len(words) >= 20 {
		ticks, _ = strconv.ParseUint(words[19], 10, 64)
	}
	return ticks
}
