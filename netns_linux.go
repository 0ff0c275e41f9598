package main

import (
	"cmp"
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

// namespace is a network namespace. The zero value is that of this process.
type namespace struct {
	name  string   // "" where nobody needs it
	inode uint64   // tells namespaces apart
	paths []string // files that stand for it, as long as they exist; none for our own

	// mayVanish is for one of all namespaces, which is no longer of interest
	// when nothing stands for it any more.
	mayVanish bool
}

// open returns a descriptor of the namespace. The error is errVanished where
// nothing stands for it any more and nobody needs it.
func (n namespace) open() (*os.File, error) {
	var failure error
	for _, path := range n.paths {
		file, err := os.Open(path)
		if err != nil {
			if !isGone(err) {
				failure = err
			}
			continue
		}
		// The process id may belong to another process by now.
		if inode, err := inodeOf(file); err == nil && inode == n.inode {
			return file, nil
		}
		_ = file.Close()
	}
	switch {
	case failure != nil:
		return nil, failure
	case n.mayVanish:
		return nil, errVanished
	}
	return nil, errors.New("the network namespace is gone")
}

func inodeOf(file *os.File) (uint64, error) {
	var status unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &status); err != nil {
		return 0, err
	}
	return status.Ino, nil
}

// within runs the function in the namespace.
func (n namespace) within(do func() error) error {
	if len(n.paths) == 0 {
		return do()
	}
	file, err := n.open()
	if err != nil {
		return err
	}
	defer file.Close()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		if err := unix.Setns(int(file.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- netnsRights(err)
			return
		}
		done <- do()
	}()
	return <-done
}

// netnsRights names the rights that are missing, where that is the error.
func netnsRights(err error) error {
	if errors.Is(err, fs.ErrPermission) && os.Geteuid() == 0 {
		return errors.New("not even root may read this network namespace here")
	}
	if errors.Is(err, fs.ErrPermission) {
		return errors.New("reading another network namespace needs root, or CAP_SYS_ADMIN and CAP_SYS_PTRACE on the file")
	}
	return err
}

// namespaces returns the network namespaces that --netns asks for, each once.
// They have names where they are needed to tell them apart.
func namespaces(wanted string, needNames bool) ([]namespace, error) {
	if wanted == netnsSelf && !needNames {
		return []namespace{{}}, nil
	}
	own, err := os.Stat("/proc/self/ns/net")
	if err != nil {
		return nil, fmt.Errorf("the network namespace is not known: %w", err)
	}
	if wanted == netnsAll {
		return allNamespaces(inodeOfInfo(own))
	}
	one := namespace{inode: inodeOfInfo(own)}
	if wanted != netnsSelf {
		if one, err = findNamespace(wanted, inodeOfInfo(own)); err != nil {
			return nil, err
		}
	}
	if needNames {
		one.name = nameOf(one)
	}
	return []namespace{one}, nil
}

func inodeOfInfo(info fs.FileInfo) uint64 { return info.Sys().(*syscall.Stat_t).Ino }

// findNamespace returns the namespace for a name, a process id or a path. own
// is the inode of ours, which needs no rights.
func findNamespace(wanted string, own uint64) (namespace, error) {
	path := filepath.Join(netnsFolder, wanted)
	if strings.Contains(wanted, "/") {
		path = wanted
	} else if pid, err := strconv.ParseInt(wanted, 10, 32); err == nil && !isNamespace(path) {
		path = procPath(int32(pid), "ns/net")
		if netns, err := netnsOf(int32(pid)); err == nil && netns == ownNetns() {
			return namespace{inode: own}, nil
		}
	}
	fault := func(what string) (namespace, error) {
		return namespace{}, fmt.Errorf("--netns: %s: %s", quote(wanted), what)
	}
	info, err := os.Stat(path)
	switch {
	case isGone(err):
		return fault("there is no network namespace of this name, process id or path")
	case err != nil:
		return fault(netnsRights(cause(err)).Error())
	case !isNamespace(path):
		return fault("this is not a network namespace")
	case inodeOfInfo(info) == own:
		return namespace{inode: own}, nil
	}
	return namespace{inode: inodeOfInfo(info), paths: []string{path}}, nil
}

// isNamespace tells whether the file stands for a namespace; what is left of
// one under /run/netns is an ordinary file.
func isNamespace(path string) bool {
	var status unix.Statfs_t
	return unix.Statfs(path, &status) == nil && int64(status.Type) == unix.NSFS_MAGIC
}

// allNamespaces returns every network namespace that has a name under
// /run/netns or a process in it. own is the inode of ours.
func allNamespaces(own uint64) ([]namespace, error) {
	given, err := givenNames()
	if err != nil {
		return nil, netnsRights(err)
	}
	if !seesAllProcesses() {
		return nil, errors.New("not all network namespaces are seen from a PID namespace, that of a container: run the check on the host, or give the container --pid=host")
	}
	if _, err := os.Stat("/proc/1"); err != nil {
		return nil, netnsRights(fs.ErrPermission) // processes are hidden (hidepid, see proc(5))
	}
	populations, err := populations()
	if err != nil {
		return nil, err
	}
	var all []namespace
	var oldest []int32 // of each, 0 where the name was given
	for netns, population := range populations {
		space := namespace{inode: population.inode, paths: population.paths, mayVanish: true}
		if netns == ownNetns() {
			space = namespace{inode: own}
		} else if space.inode == 0 {
			return nil, netnsRights(fs.ErrPermission)
		}
		first := int32(0)
		if space.name = given[space.inode]; space.name != "" {
			if len(space.paths) > 0 { // the name may outlive the processes
				space.paths = append(space.paths, filepath.Join(netnsFolder, space.name))
			}
			space.name = outsideName(space.name)
		} else {
			first = population.oldest
			space.name = readProcessName(first)
		}
		delete(given, space.inode)
		all, oldest = append(all, space), append(oldest, first)
	}
	for inode, name := range given {
		all = append(all, namespace{name: outsideName(name), inode: inode, paths: []string{filepath.Join(netnsFolder, name)}, mayVanish: true})
		oldest = append(oldest, 0)
	}
	tellApart(all, oldest)
	slices.SortFunc(all, func(a, b namespace) int { return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.inode, b.inode)) })
	return all, nil
}

// tellApart adds the id of the oldest process to names that several namespaces
// have after it.
func tellApart(all []namespace, oldest []int32) {
	taken := map[string]int{}
	for _, space := range all {
		taken[space.name]++
	}
	for i, space := range all {
		if taken[space.name] > 1 && oldest[i] != 0 {
			all[i].name = fmt.Sprintf("%s-%d", space.name, oldest[i])
		}
	}
}

// givenNames returns the names under /run/netns, by the inode of the namespace.
func givenNames() (map[uint64]string, error) {
	names := map[uint64]string{}
	entries, err := os.ReadDir(netnsFolder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, entry := range entries {
		path := filepath.Join(netnsFolder, entry.Name())
		info, err := os.Stat(path)
		if err != nil && !isGone(err) {
			return nil, err
		}
		if err == nil && isNamespace(path) {
			names[inodeOfInfo(info)] = entry.Name()
		}
	}
	return names, nil
}

// nameOf returns the name of a namespace: the one under /run/netns, else that
// of the oldest process in it, or "" where it cannot be told.
func nameOf(space namespace) string {
	if given, err := givenNames(); err == nil && given[space.inode] != "" {
		return outsideName(given[space.inode])
	}
	populations, err := populations()
	if err != nil {
		return ""
	}
	for netns, population := range populations {
		if population.inode == space.inode || len(space.paths) == 0 && netns == ownNetns() {
			return readProcessName(population.oldest)
		}
	}
	return ""
}

// population is the processes in a network namespace.
type population struct {
	inode   uint64   // of the namespace, 0 where no process lets us see it
	paths   []string // /proc/PID/ns/net of the processes that let us
	oldest  int32    // process id
	started uint64   // when the oldest began, in clock ticks after boot
}

// populations returns the processes of each network namespace, by netnsOf.
func populations() (map[uint64]*population, error) {
	all := map[uint64]*population{}
	return all, eachProcess(func(pid int32) error {
		started, err := startOf(pid)
		if isGone(err) {
			return nil
		}
		if err != nil {
			return netnsRights(err)
		}
		netns, err := netnsOf(pid)
		if isGone(err) {
			// The first thread has ended, see walk.
			ids, fault := threads(pid)
			if fault != nil {
				return netnsRights(fault)
			}
			for _, thread := range ids {
				if netns, err = netnsOf(thread); err == nil {
					pid = thread
					break
				}
			}
		}
		if isGone(err) {
			return nil
		}
		if err != nil {
			return netnsRights(err)
		}
		if all[netns] == nil {
			all[netns] = &population{}
		}
		p := all[netns]
		if p.oldest == 0 || started < p.started {
			p.oldest, p.started = pid, started
		}
		path := procPath(pid, "ns/net")
		if info, err := os.Stat(path); err == nil {
			p.inode = inodeOfInfo(info)
			p.paths = append(p.paths, path)
		}
		return nil
	})
}

// netnsOf returns a number that tells the network namespace of a process from
// others: the inode of one of its files under /proc/PID/net, which everybody
// may see, unlike /proc/PID/ns/net.
func netnsOf(pid int32) (uint64, error) {
	info, err := os.Stat(procPath(pid, "net/dev"))
	if err != nil {
		return 0, err
	}
	return inodeOfInfo(info), nil
}

func ownNetns() uint64 {
	netns, _ := netnsOf(int32(os.Getpid()))
	return netns
}

// startOf returns when the process began, in clock ticks after boot.
func startOf(pid int32) (uint64, error) {
	content, err := os.ReadFile(procPath(pid, "stat"))
	if err != nil {
		return 0, err
	}
	return parseStart(string(content)), nil
}

// parseStart returns field 22 of /proc/PID/stat, see proc_pid_stat(5). The
// second field, the name of the process, may hold anything.
func parseStart(stat string) uint64 {
	_, rest, _ := cutLast(stat, ")")
	fields := strings.Fields(rest)
	if len(fields) < 20 {
		return 0
	}
	started, _ := strconv.ParseUint(fields[19], 10, 64)
	return started
}
