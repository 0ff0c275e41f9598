package main

import (
	"errors"
	"fmt"
	stdnet "net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"check_network_connections/contrib/e2e"
)

// holdSockets opens a few sockets of every type, and returns the text for them.
// They are closed when the test ends.
func holdSockets(t *testing.T) string {
	t.Helper()
	for address, connections := range map[string]int{"127.0.0.1:0": 3, "[::1]:0": 2} {
		e2e.Connect(t, address, connections)
		datagrams, err := stdnet.ListenPacket("udp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = datagrams.Close() })
	}
	return "tcp ESTABLISHED: 6, tcp6 ESTABLISHED: 4, tcp LISTEN: 1, tcp6 LISTEN: 1, udp NONE: 1, udp6 NONE: 1"
}

func TestAnswerOnABrokenHostIsRightOrUnknown(t *testing.T) {
	plugin := inOwnNetwork(t)
	if plugin == "" {
		return
	}
	whole := holdSockets(t)
	own := filepath.Base(os.Args[0])
	const asNobody = "setpriv --reuid 65534 --regid 65534 --clear-groups "
	const unseen = "the processes of 14 sockets are hidden from this user (?): "
	const cannot, depends = "--process finds nothing for certain: " + unseen + "...", "hidden sockets could change the result: " + unseen + "..."
	const noUsers = "the users of 14 sockets are not known in this user namespace"
	const noProc = "the tcp sockets cannot be read: gopsutil: stat /proc/net/tcp: no such file or directory"
	const noProcess = "the tcp sockets cannot be read: proc: finding the processes: there are none under /proc, not even this one"
	const noNetns = "the network namespace is not known: stat /proc/self/ns/net: no such file or directory"
	const noPorts = "the ephemeral ports are not known: open /proc/sys/net/ipv4/ip_local_port_range: no such file or directory"

	type asked struct {
		arguments string
		code      int
		text      string // the text of the first line, up to the end or a trailing ...
	}
	healthy := []asked{
		{"", 0, whole},
		{"--source netlink", 0, whole},
		{"--source gopsutil", 0, whole},
		{"--by user", 0, "root: 14"},
		{"--by process", 0, own + ": 14"},
		{"--source gopsutil --by process --conn-type tcp6", 0, own + ": 5"},
		{"--process " + own + " --conn-type udp6 -c udp6=1", 0, "udp6 NONE: 1"},
		{"--conn-status established -w tcp=5", 1, "tcp ESTABLISHED: 6 [WARNING] (" + own + " 6), tcp6 ESTABLISHED: 4"},
		{"--by netns,type --conn-type udp6 --source netlink", 0, own + " udp6: 1"},
		{"--conn-type udp -w ephemeral=50", 0, "udp NONE: 1, ephemeral ports: 0% of ..."},
		{"--min-idle 1000h", 0, `No connections of type "all" in status "all" with --min-idle 1000h found.`},
		{"-w limits=100 -c backlog=100", 0, whole + ", accept queue: 0% of ..."},
	}
	without := func(flag string) []asked {
		return slices.DeleteFunc(slices.Clone(healthy), func(a asked) bool { return strings.HasPrefix(a.arguments, flag) })
	}
	for _, broken := range []struct {
		name, script string
		questions    []asked
	}{
		{"healthy", "", healthy},
		{"16 open files", "ulimit -n 16", without("--by netns")},
		{"a read-only root", `mount -o remount,bind,ro /; ! touch /etc/written 2>&-`, healthy},
		{"16 MiB of memory", fmt.Sprintf(`echo $$ >%q`, limited(t, "memory", map[string]string{"memory.limit_in_bytes": "16777216", "memory.max": "16777216"})), without("--source gopsutil")}, // which lists the descriptors of all processes
		{"one percent of a processor", fmt.Sprintf(`echo $$ >%q`, limited(t, "cpu", map[string]string{"cpu.cfs_quota_us": "1000", "cpu.max": "1000 100000"})), []asked{
			{"--timeout 240", 0, whole},
			{"--timeout 240 -w limits=100 -c backlog=100", 0, whole + ", accept queue: 0% of ..."},
		}},
		{"an empty environment", `set -- env -i "$@"`, healthy},
		{"an environment that leads astray", `export HOST_PROC=/etc HOST_SYS=/etc HOST_ETC=/proc HOME=/proc TMPDIR=/proc GODEBUG=netdns=9 PATH=`, healthy},
		{"no /proc", "mount -t tmpfs none /proc", []asked{
			{"", 0, whole},
			{"--source netlink", 0, whole},
			{"--by user", 0, "root: 14"},
			{"--conn-status established -c tcp=5", 2, "tcp ESTABLISHED: 6 [CRITICAL], tcp6 ESTABLISHED: 4"},
			{"--by process", 3, noProcess},
			{"--process " + own, 3, noProcess},
			{"--process !" + own, 3, noProcess},
			{"--source gopsutil", 3, noProc},
			{"--source gopsutil --conn-type tcp6", 3, strings.Replace(noProc, "tcp", "tcp6", 1)},
			{"--source gopsutil --conn-type udp6 --zero", 3, strings.Replace(noProc, "tcp", "udp6", 1)},
			{"--source gopsutil --by process", 3, noProc},
			{"-w ephemeral=50", 3, noPorts},
			{"--netns all", 3, noNetns},
			{"--by netns", 3, noNetns},
			{"--netns 1", 3, noNetns},
		}},
		{"nothing but processes in /proc", "mount -t proc -o subset=pid none /proc", []asked{
			{"", 0, whole},
			{"--source gopsutil", 3, noProc},
			{"--by process", 0, own + ": 14"},
			{"-w ephemeral=50", 3, noPorts},
		}},
		{"no /proc/sys", "mount -t tmpfs none /proc/sys", []asked{
			{"", 0, whole},
			{"--source gopsutil", 0, whole},
			{"-w ephemeral=50", 3, noPorts},
		}},
		{"a container on the host's network", `set -- unshare --pid --fork --mount-proc "$@"`, []asked{
			{"", 0, whole},
			{"--by user", 0, "root: 14"},
			{"--by process", 0, "?: 14"},
			{"--process " + own, 3, cannot},
			{"--process !" + own, 3, cannot},
			{"--by process -c " + own + "=1:", 3, depends},
			{"--by process -c " + own + "=14", 0, "?: 14, " + own + ": 0 to 14"},
			{"--by process -c " + own + "=15:", 2, own + ": 0 to 14 [CRITICAL], ?: 14"},
			{"--process " + own + " -c total=13", 3, depends},
			{"--process " + own + " -c total=14", 0, "tcp ESTABLISHED: 0 to 6, tcp LISTEN: 0 to 1, tcp6 ESTABLISHED: 0 to 4, tcp6 LISTEN: 0 to 1, udp NONE: 0 to 1, udp6 NONE: 0 to 1, total: 0 to 14"},
			{"--netns all", 3, "from inside a container's PID namespace not all network namespaces are seen..."},
		}},
		{"a user namespace on the host's network", "set -- " + asNobody + `unshare --user --map-root-user "$@"`, []asked{
			{"", 0, whole},
			{"--by user", 0, "?: 14"},
			{"--user nobody", 3, "--user finds nothing for certain: " + noUsers},
			{"--user !65534", 3, "--user finds nothing for certain: " + noUsers},
			{"--user root", 3, "--user finds nothing for certain: " + noUsers},
			{"--by user -c daemon=1:", 3, "hidden sockets could change the result: " + noUsers},
			{"--by user -w 20,root=14", 0, "?: 14, root: 0 to 14"},
			{"--by user -w total=50,root=14", 0, "?: 14, root: 0 to 14, total: 14"},
			{"--by user -w total=13", 1, "?: 14, total: 14 [WARNING]"},
			{"--by user -w 13", 3, "hidden sockets could change the result: " + noUsers},
		}},
		{"5 open files", "ulimit -n 5", []asked{
			{"--netns all", 3, "...too many open files"},
			{"--by netns", 3, "the network namespace cannot be named: ...too many open files"},
		}},
		{"other users' processes not to be looked into", "mount -t proc -o hidepid=1 proc /proc; set -- " + asNobody + `"$@"`, []asked{
			{"", 0, whole},
			{"--by process", 0, "?: 14"},
			{"--process " + own, 3, cannot},
			{"--netns all", 3, "from inside a container's PID namespace not all network namespaces are seen..."},
		}},
		{"other users' processes hidden", "mount -t proc -o hidepid=2 proc /proc; set -- " + asNobody + `"$@"`, []asked{
			{"", 0, whole},
			{"--source gopsutil", 0, whole},
			{"--by process", 0, "?: 14"},
			{"--by process -w 14", 0, "?: 14"},
			{"--by process -w 5:14", 3, depends},
			{"--by process -w 5:14 --always-ok", 0, "?: 14... (always ok)"},
			{"--by process,status -w ?_none=5 --conn-type udp", 0, "? NONE: 1"},
			{"--by process,status -w ?_none=0 --conn-type udp", 1, "? NONE: 1 [WARNING]"},
			{"--process " + own, 3, cannot},
			{"--process !" + own, 3, cannot},
			{"--source gopsutil --process " + own, 3, cannot},
			{"--netns all", 3, "not all processes are seen here (root may see them), and so not all network namespaces: /proc/1 is not there"},
		}},
	} {
		t.Run(broken.name, func(t *testing.T) {
			for _, asked := range broken.questions {
				output, code := outputOf(t, inMounts(t, broken.script, plugin, strings.Fields(asked.arguments)...))
				left, right, isPart := strings.Cut(asked.text, "...")
				text := textOf(output)
				isSame := text == asked.text || isPart && strings.HasPrefix(text, left) && strings.HasSuffix(text, right)
				if code != asked.code || !isSame {
					t.Errorf("%s: got %d %s\nwant %d %s", asked.arguments, code, output, asked.code, asked.text)
				}
			}
		})
	}
}

func init() { helpers["without-netlink"] = withoutNetlink }

// auditArchitectures are the numbers by which the kernel tells a filter of
// system calls on which processor it is.
var auditArchitectures = map[string]uint32{"amd64": unix.AUDIT_ARCH_X86_64, "arm64": unix.AUDIT_ARCH_AARCH64}

// withoutNetlink takes an error number and a command, and runs the command
// where the system call that makes a socket of AF_NETLINK fails with that error.
func withoutNetlink() {
	number, err := strconv.Atoi(os.Args[1])
	must(err)
	must(forbidNetlink(syscall.Errno(number)))
	must(syscall.Exec(os.Args[2], os.Args[2:], nil))
}

// forbidNetlink sets up the filter for this thread and what it executes.
func forbidNetlink(number syscall.Errno) error {
	runtime.LockOSThread()
	// What a filter sees is a struct seccomp_data, see linux/seccomp.h: the
	// number of the call, the processor, the instruction, the arguments.
	const offsetNumber, offsetProcessor, offsetArgument = 0, 4, 16
	load := func(offset uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
	}
	skipUnless := func(value uint32, instructions uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: value, Jf: instructions}
	}
	end := func(result uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: result}
	}
	instructions := []unix.SockFilter{
		load(offsetProcessor), skipUnless(auditArchitectures[runtime.GOARCH], 5),
		load(offsetNumber), skipUnless(unix.SYS_SOCKET, 3),
		load(offsetArgument), skipUnless(unix.AF_NETLINK, 1),
		end(unix.SECCOMP_RET_ERRNO | uint32(number)),
		end(unix.SECCOMP_RET_ALLOW),
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	seccomp := unix.SockFprog{Len: uint16(len(instructions)), Filter: &instructions[0]}
	return unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&seccomp)), 0, 0)
}

func TestWithoutNetlinkTheOtherSourceServesAndIsNamed(t *testing.T) {
	if auditArchitectures[runtime.GOARCH] == 0 {
		e2e.Skip(t, "the filter of system calls is written for amd64 and arm64")
	}
	plugin := inOwnNetwork(t)
	if plugin == "" {
		return
	}
	whole := holdSockets(t)
	for _, number := range []syscall.Errno{unix.EPERM, unix.EACCES, unix.EAFNOSUPPORT, unix.ENOSYS} {
		asked := func(arguments ...string) (text, more string, code int) {
			output, code := outputOf(t, helper("without-netlink", append([]string{strconv.Itoa(int(number)), plugin}, arguments...)...))
			_, more, _ = strings.Cut(strings.TrimSuffix(output, "\n"), "\n")
			return textOf(output), more, code
		}
		t.Run(number.Error(), func(t *testing.T) {
			if text, more, code := asked(); text != whole || more != "" || code != 0 {
				t.Errorf("got %d %s\n%s", code, text, more)
			}
			_, more, code := asked("--verbose")
			var reasons []string
			for _, proto := range []string{"tcp", "udp"} { // both families of each
				reasons = append(reasons, "netlink "+proto+": socket: "+number.Error())
			}
			if !strings.HasPrefix(more, "14 sockets counted, read from proc in ") || !strings.HasSuffix(more, " ms ("+strings.Join(reasons, "; ")+")") || code != 0 {
				t.Errorf("got %d %s", code, more)
			}
			text, more, code := asked("-c", "tcp_established=5")
			keeper := fmt.Sprintf("tcp ESTABLISHED held by: %s (root) 6\n", filepath.Base(os.Args[0]))
			if !strings.HasPrefix(text, "tcp ESTABLISHED: 6 [CRITICAL]") || !strings.HasPrefix(more, keeper) || code != 2 {
				t.Errorf("got %d %s\n%s\nwant %s", code, text, more, keeper)
			}
			for arguments, end := range map[string]string{"--source netlink": "", "--min-idle 1h": "; proc: idle times need netlink"} {
				text, more, code := asked(strings.Fields(arguments)...)
				if text != "the tcp sockets cannot be read: netlink: socket: "+number.Error()+end || more != "" || code != 3 {
					t.Errorf("%s: got %d %s\n%s", arguments, code, text, more)
				}
			}
		})
	}
}

// limited makes a control group with the limits until the test ends, and returns
// the file that takes the processes to put into it. The limits are by the files
// of both versions of control groups.
func limited(t *testing.T, controller string, limits map[string]string) string {
	t.Helper()
	var failures []error
	for _, parent := range controlGroups(t, controller) {
		folder := filepath.Join(parent, fmt.Sprintf("check_network_connections-%d-%d", os.Getpid(), time.Now().UnixNano()))
		if err := os.Mkdir(folder, 0o755); err != nil {
			failures = append(failures, err)
			continue
		}
		// The kernel lets go of a group a little after its last process.
		t.Cleanup(func() {
			e2e.WaitFor(t, time.Minute, "the control group to go", func() bool {
				err := os.Remove(folder)
				return err == nil || errors.Is(err, os.ErrNotExist)
			})
		})
		isSet := false
		for name, value := range limits {
			path := filepath.Join(folder, name)
			if _, err := os.Stat(path); err != nil {
				continue // of the other version
			}
			err := os.WriteFile(path, []byte(value), 0)
			failures = append(failures, err)
			isSet = isSet || err == nil
		}
		if isSet {
			// Without these two there is no swap space to limit.
			_ = os.WriteFile(filepath.Join(folder, "memory.memsw.limit_in_bytes"), []byte(limits["memory.max"]), 0)
			_ = os.WriteFile(filepath.Join(folder, "memory.swap.max"), []byte("0"), 0)
			return filepath.Join(folder, "cgroup.procs")
		}
	}
	e2e.Skip(t, fmt.Sprintf("no control group for %s can be made; in a container: docker run --privileged --cgroupns=host. %v", controller, errors.Join(failures...)))
	return ""
}

// controlGroups returns the folders of the control group that this process is
// in, and of those above it: with version 2 only one without processes of its
// own can have others with limits below it.
func controlGroups(t *testing.T, controller string) (folders []string) {
	t.Helper()
	groups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		e2e.Skip(t, err.Error())
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		e2e.Skip(t, err.Error())
	}
	has := func(list string) bool { return strings.Contains(","+list+",", ","+controller+",") }
	for mount := range strings.Lines(string(mounts)) {
		// See proc_pid_mountinfo(5): root and mount point, then behind a dash
		// the type and the options.
		left, right, _ := strings.Cut(strings.TrimSpace(mount), " - ")
		place, super := strings.Fields(left), strings.Fields(right)
		if len(place) < 5 || len(super) < 3 {
			continue
		}
		isFirst := super[0] == "cgroup" && has(super[2])
		if !isFirst && super[0] != "cgroup2" {
			continue
		}
		for line := range strings.Lines(string(groups)) {
			parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
			if isFirst != has(parts[1]) || !isFirst && parts[0] != "0" {
				continue
			}
			for below := filepath.Join("/", strings.TrimPrefix(parts[2], place[3])); ; below = filepath.Dir(below) {
				folders = append(folders, filepath.Join(place[4], below))
				if below == "/" {
					break
				}
			}
		}
	}
	return folders
}
