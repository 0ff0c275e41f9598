package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// inetDiagCgroupID is the attribute with the id of the control group that made a
// full socket (INET_DIAG_CGROUP_ID in include/uapi/linux/inet_diag.h, Linux 5.9).
const inetDiagCgroupID = 21

// noID stands for the control group of a socket that carries none.
const noID = 0

var errNoUnits = errors.New("the kernel does not tell which unit made a socket: that takes Linux 5.9 with cgroup v2")

// units finds the names of control groups. Their ids are the inodes of their
// folders, which everybody may list.
type units struct {
	root  string            // where the control groups are, "" where there are none
	names map[uint64]string // by id
	next  []string          // folders that have not been listed yet, below the root

	isWhole  bool // the root is that of the host
	isListed bool // the second listing has begun
}

// newUnits finds the file system of control groups, version 2.
func (p procfs) newUnits() *units {
	u := &units{names: map[uint64]string{noID: nothing}}
	content, _ := p.read("self/mountinfo", 1<<20)
	for line := range strings.Lines(string(content)) {
		before, after, _ := strings.Cut(line, " - ")
		words := strings.Fields(before)
		if strings.HasPrefix(after, "cgroup2 ") && len(words) > 4 && u.root == "" && isOn(words[2], words[4]) {
			u.open(words[4])
		}
	}
	return u
}

// isOn tells whether the folder is on the device, as proc_pid_mountinfo(5)
// writes it, and not on another that is mounted over it.
func isOn(device, folder string) bool {
	var status unix.Stat_t
	err := unix.Stat(folder, &status)
	return err == nil && device == fmt.Sprintf("%d:%d", unix.Major(uint64(status.Dev)), unix.Minor(uint64(status.Dev)))
}

// open begins with the root, which is no unit.
func (u *units) open(root string) {
	if info, err := os.Stat(root); err == nil {
		u.root, u.next = root, []string{""}
		u.names[inodeOf(info)] = nothing
		u.isWhole = inodeOf(info) == 1 // the first id of all, see cgroup_setup_root in kernel/cgroup/cgroup.c
	}
}

// name returns the name of the unit with the control group: hidden where it is
// outside of what is mounted here, and nothing where it is gone. Folders are listed
// until it is found, and once more for those that came meanwhile.
func (u *units) name(id uint64) string {
	for {
		name, isKnown := u.names[id]
		if isKnown {
			return name
		}
		switch {
		case len(u.next) > 0:
		case u.isWhole && u.isListed:
			u.names[id] = nothing
			continue
		case u.isWhole:
			u.next, u.isListed = []string{""}, true
		default:
			u.names[id] = hidden
			continue
		}
		folder := u.next[0]
		u.next = u.next[1:]
		u.list(folder)
	}
}

// list notes the folders in a folder. Their inodes are in its entries.
func (u *units) list(folder string) {
	descriptor, err := unix.Open(filepath.Join(u.root, folder), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		u.isWhole = u.isWhole && isGone(err)
		return
	}
	defer unix.Close(descriptor)
	buffer := make([]byte, 16<<10)
	for {
		n, err := unix.ReadDirent(descriptor, buffer)
		if err != nil || n <= 0 {
			u.isWhole = u.isWhole && (err == nil || isGone(err))
			return
		}
		for rest := buffer[:n]; len(rest) > 0; {
			// struct linux_dirent64: inode, offset, length, type, name
			length := binary.NativeEndian.Uint16(rest[16:])
			name := unix.ByteSliceToString(rest[19:length])
			if rest[18] == unix.DT_DIR && name != "." && name != ".." {
				below := path.Join(folder, name)
				u.next = append(u.next, below)
				u.names[binary.NativeEndian.Uint64(rest)] = givenName(unitOf(below))
			}
			rest = rest[length:]
		}
	}
}

// The length of a container's id, and how much of it docker ps shows.
const idLength, shortID = 64, 12

// unitOf returns what an admin calls a control group: the deepest unit or
// container in its path, else the last part of it.
func unitOf(folder string) string {
	parts := strings.Split(folder, "/")
	for i, part := range slices.Backward(parts) {
		name := strings.TrimSuffix(part, ".scope")
		if start := len(name) - idLength; start >= 0 && strings.Trim(name[start:], "0123456789abcdef") == "" {
			runtime := name[:start] // docker-, cri-containerd-, crio-, libpod-
			if runtime == "" && i > 0 {
				runtime = parts[0] + "-" // /docker/ID, /kubepods/…/ID
			}
			return runtime + name[start:start+shortID]
		}
		if slices.Contains(unitTypes, path.Ext(part)) {
			return part
		}
	}
	return parts[len(parts)-1]
}

// unitTypes are those of systemd that have control groups, see systemd.unit(5);
// a slice only holds others.
var unitTypes = []string{".service", ".scope", ".socket", ".mount", ".swap"}
