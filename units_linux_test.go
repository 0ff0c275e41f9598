package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const containerID = "3f2a1bc0d9e8f7a6b5c4d3e2f1a0b9c8d7e6f5a4b3c2d1e0f9a8b7c6d5e4f3a2"

// controlGroupNames are control groups as the systems make them, and what an
// admin calls them.
var controlGroupNames = []struct{ system, folder, name string }{
	{"systemd", "system.slice/tomcat9.service", "tomcat9.service"},
	{"systemd", "system.slice/system-getty.slice/getty@tty1.service", "getty@tty1.service"},
	{"systemd, a socket", "system.slice/nginx.socket", "nginx.socket"},
	{"systemd, a mount", "system.slice/srv-data.mount", "srv-data.mount"},
	{"systemd, the first process", "init.scope", "init.scope"},
	{"systemd, a part of a service", "system.slice/nginx.service/worker", "nginx.service"},
	{"systemd, nothing but slices", "system.slice/custom.slice", "custom.slice"},
	{"a session", "user.slice/user-1000.slice/session-3.scope", "session-3.scope"},
	{"a user's service", "user.slice/user-1000.slice/user@1000.service/app.slice/syncthing.service", "syncthing.service"},
	{"a user's manager", "user.slice/user-1000.slice/user@1000.service/init.scope", "init.scope"},
	{"Docker with systemd", "system.slice/docker-" + containerID + ".scope", "docker-3f2a1bc0d9e8"},
	{"Docker with cgroupfs", "docker/" + containerID, "docker-3f2a1bc0d9e8"},
	{"Docker, below", "docker/" + containerID + "/workers", "docker-3f2a1bc0d9e8"},
	{"Docker with systemd inside", "docker/" + containerID + "/system.slice/nginx.service", "nginx.service"},
	{"Kubernetes with containerd", "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0d1f_4a.slice/cri-containerd-" + containerID + ".scope", "cri-containerd-3f2a1bc0d9e8"},
	{"Kubernetes with containerd and cgroupfs", "kubepods/burstable/pod0d1f-4a/" + containerID, "kubepods-3f2a1bc0d9e8"},
	{"Kubernetes with CRI-O", "kubepods.slice/kubepods-pod0d1f_4a.slice/crio-" + containerID + ".scope", "crio-3f2a1bc0d9e8"},
	{"Kubernetes with CRI-O, below", "kubepods.slice/kubepods-pod0d1f_4a.slice/crio-" + containerID + ".scope/container", "crio-3f2a1bc0d9e8"},
	{"containerd", "system.slice/nerdctl-" + containerID + ".scope", "nerdctl-3f2a1bc0d9e8"},
	{"Podman", "machine.slice/libpod-" + containerID + ".scope/container", "libpod-3f2a1bc0d9e8"},
	{"Podman, its monitor", "machine.slice/libpod-conmon-" + containerID + ".scope", "libpod-conmon-3f2a1bc0d9e8"},
	{"Podman of a user", "user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" + containerID + ".scope/container", "libpod-3f2a1bc0d9e8"},
	{"LXC", "lxc/web", "web"},
	{"LXC 4", "lxc.payload.web", "lxc.payload.web"},
	{"LXC 4 with systemd inside", "lxc.payload.web/system.slice/nginx.service", "nginx.service"},
	{"systemd-nspawn", "machine.slice/machine-web.scope/payload", "machine-web.scope"},
	{"made by hand", "batch/night", "night"},
	{"nearly an id", "docker/" + containerID[:63], containerID[:63]},
	{"no id", "docker/" + strings.ToUpper(containerID), strings.ToUpper(containerID)},
}

func TestControlGroupsAreNamedAsAdminsCallThem(t *testing.T) {
	root := t.TempDir()
	for _, test := range controlGroupNames {
		if err := os.MkdirAll(filepath.Join(root, test.folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	idOf := func(folder string) uint64 {
		info, err := os.Stat(filepath.Join(root, folder))
		if err != nil {
			t.Fatal(err)
		}
		return inodeOf(info)
	}
	u := &units{names: map[uint64]string{noID: nothing}}
	u.open(root)
	for _, test := range controlGroupNames {
		if got := u.name(idOf(test.folder)); got != test.name {
			t.Errorf("%s: got %s, want %s", test.system, got, test.name)
		}
	}
	for id, want := range map[uint64]string{noID: nothing, idOf(""): nothing, 1<<63 + 1: hidden} {
		if got := u.name(id); got != want {
			t.Errorf("%d: got %s, want %s", id, got, want)
		}
	}
}

// Sockets can outlive their control group. In a container a group that is not
// seen is one of others.
func TestControlGroupThatIsGoneIsNoUnit(t *testing.T) {
	root := t.TempDir()
	for isHost, want := range map[bool]string{true: nothing, false: hidden} {
		u := &units{names: map[uint64]string{noID: nothing}}
		u.open(root)
		u.isWhole = isHost
		if got := u.name(1<<63 + 1); got != want {
			t.Errorf("the host's: %t: got %s, want %s", isHost, got, want)
		}
		// One that came after the others had been listed.
		late := filepath.Join(root, fmt.Sprint("late", isHost, ".service"))
		if err := os.Mkdir(late, 0o755); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(late)
		if err != nil {
			t.Fatal(err)
		}
		u = &units{names: map[uint64]string{noID: nothing}, isWhole: isHost, root: root}
		want := map[bool]string{true: filepath.Base(late), false: hidden}[isHost]
		if got := u.name(inodeOf(info)); got != want {
			t.Errorf("came late, the host's: %t: got %s, want %s", isHost, got, want)
		}
	}
}

// What cannot be listed may have the control group.
func TestAControlGroupInAFolderThatCannotBeListedIsNotSeen(t *testing.T) {
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for folder, want := range map[string]string{"file": hidden, "gone": nothing} {
		u := &units{names: map[uint64]string{noID: nothing}, root: root, isWhole: true, next: []string{folder}}
		if got := u.name(1<<63 + 1); got != want {
			t.Errorf("%s: got %s, want %s", folder, got, want)
		}
	}
}

func TestControlGroupsAreFoundWhereTheyAreMounted(t *testing.T) {
	root := t.TempDir()
	var status unix.Stat_t
	if err := unix.Stat(root, &status); err != nil {
		t.Fatal(err)
	}
	device := fmt.Sprintf("%d:%d", unix.Major(uint64(status.Dev)), unix.Minor(uint64(status.Dev)))
	const other = "24 23 0:22 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
	const top = "61 1 8:1 / / rw - ext4 /dev/sda1 rw\n" // mounted later, where systemd ran in the initramfs
	for name, test := range map[string]struct{ mounts, root string }{
		"alone":                       {"30 23 " + device + " / " + root + " rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n" + top, root},
		"next to those of version 1":  {other + "31 24 " + device + " / " + root + " rw shared:9 master:2 - cgroup2 cgroup2 rw\n", root},
		"the first one that is there": {"31 24 " + device + " / /no/such/folder rw - cgroup2 none rw\n31 24 " + device + " / " + root + " rw - cgroup2 none rw\n", root},
		"mounted twice":               {"31 24 " + device + " / " + root + " rw - cgroup2 none rw\n32 31 " + device + " / " + root + " rw - cgroup2 none rw\n", root},
		"something mounted over it":   {"31 24 0:0 / " + root + " rw - cgroup2 none rw\n32 31 " + device + " / " + root + " rw - tmpfs none rw\n", ""},
		"version 1 only":              {other, ""},
		"nothing":                     {"", ""},
	} {
		if got := procTree(t, map[string]string{"self/mountinfo": test.mounts}).newUnits().root; got != test.root {
			t.Errorf("%s: got %q", name, got)
		}
	}
}

// withUnit returns the message for a socket with the id of a control group.
func (m inetDiagMsg) withUnit(id uint64) []byte {
	message := binary.NativeEndian.AppendUint16(m.message(), 12)
	message = binary.NativeEndian.AppendUint16(message, inetDiagCgroupID)
	return binary.NativeEndian.AppendUint64(message, id)
}

func TestUnitsAreAskedOfKernelsThatTellThem(t *testing.T) {
	listening := inetDiagMsg{Family: unix.AF_INET, State: 10, LocalPort: 80, Inode: 1}
	waiting, closed := listening, inetDiagMsg{Family: unix.AF_INET, State: 6, Timer: timerTimeWait}
	waiting.State, waiting.Inode, waiting.RemotePort = 8, 0, 5000
	for _, test := range []struct {
		name     string
		root     string
		messages [][]byte
		fields   fields
		want     string
		err      error
	}{
		{"all are told", "/", [][]byte{listening.withUnit(7), waiting.withUnit(7), closed.message()}, fieldUnit, "web.service 2, - 1", nil},
		{"an old kernel", "/", [][]byte{listening.message()}, fieldUnit, "", errNoUnits},
		{"no control groups of version 2", "", [][]byte{listening.withUnit(7)}, fieldUnit, "", errNoUnits},
		{"an old kernel, and only culprits ask", "/", [][]byte{listening.message()}, fieldUnitIfKnown, "- 1", nil},
		{"an id that is cut off", "/", [][]byte{append(listening.message(), 12, 0, inetDiagCgroupID, 0, 1)}, fieldUnitIfKnown, "", errCutOff},
	} {
		t.Run(test.name, func(t *testing.T) {
			asked := (&question{}).tally(grouping{byUnit})
			asked.fields = test.fields
			diag := askingKernels(t, "tcp", asked, sends(test.messages))
			diag.host.units = &units{root: test.root, names: map[uint64]string{noID: nothing, 7: "web.service"}}
			found := newCounter([]*tally{asked})
			err := diag.read(found, anyKernel)
			if !errors.Is(err, test.err) {
				t.Fatalf("got %v", err)
			}
			got := map[string]int{}
			for _, r := range found[0].rows {
				got[r.key] = r.known
			}
			if text := mostText(got, 0, ", "); err == nil && text != test.want {
				t.Errorf("got %s, want %s", text, test.want)
			}
		})
	}
}
