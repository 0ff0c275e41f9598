package main

import (
	"errors"
	"fmt"
	"iter"
	stdnet "net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"check_network_connections/contrib/e2e"
	"github.com/shirou/gopsutil/v3/net"
)

// heldSockets opens a few sockets of every type, and returns the text for them.
// They are closed when the test ends.
func heldSockets(t *testing.T) string {
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

const numberOfHeldSockets = 14

// on returns the command that runs the program on a host that a shell script
// has starved or broken, in a mount namespace of its own.
func on(t *testing.T, script, plugin string, arguments ...string) *exec.Cmd {
	t.Helper()
	e2e.Need(t, "util-linux mount", "unshare", "mount", "setpriv")
	return exec.Command("unshare", append([]string{"--mount", "sh", "-c", "set -e\n" + script + "\n" + `exec "$@"`, "sh", plugin}, arguments...)...)
}

func TestOnAStarvedOrBrokenHostTheAnswerIsRightOrUnknown(t *testing.T) {
	plugin := inOwnNetwork(t)
	if plugin == "" {
		return
	}
	whole := heldSockets(t)
	own := filepath.Base(os.Args[0])
	const asNobody = "setpriv --reuid 65534 --regid 65534 --clear-groups "
	unseenNote := fmt.Sprintf("%d sockets belong to processes that this user may not see (?): ", numberOfHeldSockets)
	unknownUsers := fmt.Sprintf("--user cannot be applied: the users of %d sockets are not known in this user namespace", numberOfHeldSockets)
	const noProc = "the tcp sockets cannot be read: gopsutil: stat /proc/net/tcp: no such file or directory"
	const noProcess = "the tcp sockets cannot be read: netlink: finding the processes: there are none under /proc, not even this one; " +
		"gopsutil: stat /proc/net/tcp: no such file or directory"
	const noNetns = "the network namespace is not known: stat /proc/self/ns/net: no such file or directory"
	const noPorts = "the ephemeral ports are not known: open /proc/sys/net/ipv4/ip_local_port_range: no such file or directory"

	type question struct {
		arguments string
		code      int
		text      string // the first line without state and performance data, up to the end or a trailing ...
	}
	healthy := []question{
		{"", 0, whole},
		{"--source netlink", 0, whole},
		{"--source gopsutil", 0, whole},
		{"--by user", 0, fmt.Sprintf("root: %d", numberOfHeldSockets)},
		{"--by process", 0, fmt.Sprintf("%s: %d", own, numberOfHeldSockets)},
		{"--source gopsutil --by process --conn-type tcp6", 0, own + ": 5"},
		{"--process " + own + " --conn-type udp6 -c udp6=1", 0, "udp6 NONE: 1"},
		{"--conn-status established -w tcp=5", 1, "tcp ESTABLISHED: 6 [WARNING], tcp6 ESTABLISHED: 4"},
		{"--by netns,type --conn-type udp6 --source netlink", 0, own + " udp6: 1"},
		{"--conn-type udp -w ephemeral=50", 0, "udp NONE: 1, ephemeral ports: 0% of ..."},
		{"--min-idle 1h", 0, `No connections of type "all" in status "all" found.`},
	}
	for _, host := range []struct {
		name, script string
		questions    []question
	}{
		{"healthy", "", healthy},
		{"16 open files", "ulimit -n 16", healthy},
		{"a read-only root", `mount -o remount,bind,ro /; ! touch /etc/written 2>&-`, healthy},
		{"16 MiB of memory", fmt.Sprintf(`echo $$ >%q`, limitedMemory(t, 16<<20)), healthy},
		{"an empty environment", `set -- env -i "$@"`, healthy},
		{"an environment that leads astray", `export HOST_PROC=/etc HOST_SYS=/etc HOST_ETC=/proc HOME=/proc TMPDIR=/proc GODEBUG=netdns=9 PATH=`, healthy},
		{"no /proc", "mount -t tmpfs none /proc", []question{
			{"", 0, whole},
			{"--source netlink", 0, whole},
			{"--by user", 0, fmt.Sprintf("root: %d", numberOfHeldSockets)},
			{"--conn-status established -c tcp=5", 2, "tcp ESTABLISHED: 6 [CRITICAL], tcp6 ESTABLISHED: 4"},
			{"--min-idle 1h", 0, `No connections of type "all" in status "all" found.`},
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
		{"nothing but processes in /proc", "mount -t proc -o subset=pid none /proc", []question{
			{"", 0, whole},
			{"--source gopsutil", 3, noProc},
			{"--source gopsutil --conn-type tcp6", 3, strings.Replace(noProc, "tcp", "tcp6", 1)},
			{"--by process", 0, fmt.Sprintf("%s: %d", own, numberOfHeldSockets)},
			{"-w ephemeral=50", 3, noPorts},
		}},
		{"no /proc/sys", "mount -t tmpfs none /proc/sys", []question{
			{"", 0, whole},
			{"--source gopsutil", 0, whole},
			{"-w ephemeral=50", 3, noPorts},
		}},
		{"a container on the host's network", `set -- unshare --pid --fork --mount-proc "$@"`, []question{
			{"", 0, whole},
			{"--by user", 0, fmt.Sprintf("root: %d", numberOfHeldSockets)},
			{"--by process", 0, fmt.Sprintf("?: %d", numberOfHeldSockets)},
			{"--process " + own, 3, "--process cannot be applied: " + unseenNote + "..."},
			{"--process !" + own, 3, "--process cannot be applied: " + unseenNote + "..."},
			{"--by process -c " + own + "=1:", 3, `the sockets of "` + own + `" cannot be counted: ` + unseenNote + "..."},
			{"--netns all", 3, "not all network namespaces are seen from a PID namespace..."},
		}},
		{"a user namespace on the host's network", "set -- " + asNobody + `unshare --user --map-root-user "$@"`, []question{
			{"", 0, whole},
			{"--by user", 0, fmt.Sprintf("?: %d", numberOfHeldSockets)},
			{"--user nobody", 3, unknownUsers},
			{"--user !65534", 3, unknownUsers},
			{"--user daemon", 3, unknownUsers},
			{"--user root", 0, `No connections of type "all" in status "all" found.`},
			{"--user !root", 0, whole},
			{"--by user -c nobody=0", 3, fmt.Sprintf(`the sockets of "nobody" cannot be counted: the users of %d sockets are not known`, numberOfHeldSockets)},
			{"--by user -c daemon=1:", 3, fmt.Sprintf(`the sockets of "daemon" cannot be counted: the users of %d sockets are not known`, numberOfHeldSockets)},
			{"--by user -w 20,root=5", 0, fmt.Sprintf("?: %d, root: 0", numberOfHeldSockets)},
			{"--by user -w total=50,root=5", 0, fmt.Sprintf("?: %d, root: 0, total: %d", numberOfHeldSockets, numberOfHeldSockets)},
			{"--by user -w 13", 1, fmt.Sprintf("?: %d [WARNING]", numberOfHeldSockets)},
		}},
		{"8 open files", "ulimit -n 8", []question{
			{"--netns all", 3, "open /proc/..."},
		}},
		{"other users' processes not to be looked into", "mount -t proc -o hidepid=1 proc /proc; set -- " + asNobody + `"$@"`, []question{
			{"", 0, whole},
			{"--by process", 0, fmt.Sprintf("?: %d", numberOfHeldSockets)},
			{"--process " + own, 3, "--process cannot be applied: " + unseenNote + "..."},
			{"--netns all", 3, "reading another network namespace needs root..."},
		}},
		{"other users' processes hidden", "mount -t proc -o hidepid=2 proc /proc; set -- " + asNobody + `"$@"`, []question{
			{"", 0, whole},
			{"--source gopsutil", 0, whole},
			{"--by process", 0, fmt.Sprintf("?: %d", numberOfHeldSockets)},
			{"--by process -w 14", 0, fmt.Sprintf("?: %d", numberOfHeldSockets)},
			{"--by process -w 5:14", 3, "the verdict depends on what is not seen: " + unseenNote + "..."},
			{"--by process -w 5:14 --always-ok", 0, fmt.Sprintf("?: %d (always ok)", numberOfHeldSockets)},
			{"--by process,status -w ?_none=5 --conn-type udp", 0, "? NONE: 1"},
			{"--process " + own, 3, "--process cannot be applied: " + unseenNote + "..."},
			{"--process !" + own, 3, "--process cannot be applied: " + unseenNote + "..."},
			{"--source gopsutil --process " + own, 3, "--process cannot be applied: " + unseenNote + "..."},
			{"--netns all", 3, "reading another network namespace needs root..."},
		}},
	} {
		t.Run(host.name, func(t *testing.T) {
			for _, question := range host.questions {
				output, code := outputOf(t, on(t, host.script, plugin, strings.Fields(question.arguments)...))
				first, _, _ := strings.Cut(output, "\n")
				_, text, _ := strings.Cut(first, "] - ")
				text, _, _ = strings.Cut(text, "|")
				want, isStart := strings.CutSuffix(question.text, "...")
				if code != question.code || text != want && !(isStart && strings.HasPrefix(text, want)) {
					t.Errorf("%s: got %d %s\nwant %d %s", question.arguments, code, output, question.code, question.text)
				}
			}
		})
	}
}

// limitedMemory makes a control group with that much memory until the test
// ends, and returns the file that takes the processes to put into it.
func limitedMemory(t *testing.T, limit int) string {
	t.Helper()
	var failures []error
	for _, parent := range memoryGroups(t) {
		group := filepath.Join(parent, fmt.Sprintf("check_network_connections-%d-%d", os.Getpid(), time.Now().UnixNano()))
		if err := os.Mkdir(group, 0o755); err != nil {
			failures = append(failures, err)
			continue
		}
		// The kernel lets go of a group a little after its last process.
		t.Cleanup(func() {
			e2e.WaitFor(t, 10*time.Second, "the control group to go", func() bool {
				err := os.Remove(group)
				return err == nil || errors.Is(err, os.ErrNotExist)
			})
		})
		err := errors.Join(
			os.WriteFile(filepath.Join(group, "memory.limit_in_bytes"), fmt.Append(nil, limit), 0),
			os.WriteFile(filepath.Join(group, "memory.max"), fmt.Append(nil, limit), 0))
		if err, are := err.(interface{ Unwrap() []error }); !are || len(err.Unwrap()) < 2 {
			// Without these two there is no swap space to limit.
			_ = os.WriteFile(filepath.Join(group, "memory.memsw.limit_in_bytes"), fmt.Append(nil, limit), 0)
			_ = os.WriteFile(filepath.Join(group, "memory.swap.max"), []byte("0"), 0)
			return filepath.Join(group, "cgroup.procs")
		}
		failures = append(failures, err)
	}
	e2e.Skip(t, fmt.Sprintf("no control group for memory can be made; in a container: docker run --privileged --cgroupns=host. %v", errors.Join(failures...)))
	return ""
}

// memoryGroups returns the folders of the control group for memory that this
// process is in, and of those above it: with version 2 only one without
// processes of its own can have others with limits below it.
func memoryGroups(t *testing.T) []string {
	t.Helper()
	groups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		e2e.Skip(t, err.Error())
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		e2e.Skip(t, err.Error())
	}
	var folders []string
	for mount := range strings.Lines(string(mounts)) {
		// See proc_pid_mountinfo(5): root and mount point, then behind a dash
		// the type and the options.
		before, after, _ := strings.Cut(strings.TrimSpace(mount), " - ")
		fields, kind := strings.Fields(before), strings.Fields(after)
		if len(fields) < 5 || len(kind) < 3 {
			continue
		}
		isFirst := kind[0] == "cgroup" && slices.Contains(strings.Split(kind[2], ","), "memory")
		if !isFirst && kind[0] != "cgroup2" {
			continue
		}
		for group := range strings.Lines(string(groups)) {
			parts := strings.SplitN(strings.TrimSpace(group), ":", 3)
			if isFirst != slices.Contains(strings.Split(parts[1], ","), "memory") || !isFirst && parts[0] != "0" {
				continue
			}
			for below := filepath.Join("/", strings.TrimPrefix(parts[2], fields[3])); ; below = filepath.Dir(below) {
				folders = append(folders, filepath.Join(fields[4], below))
				if below == "/" {
					break
				}
			}
		}
	}
	return folders
}

func TestManySocketsInLittleTimeAndMemory(t *testing.T) {
	plugin := e2e.Plugin(t)
	load := filepath.Join(e2e.Folder(t), "load")
	if os.Getenv(loadProgram) == "" {
		build := exec.Command("go", "build", "-o", load, "./bench")
		build.Dir = e2e.Root()
		if output, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, output)
		}
		t.Setenv(loadProgram, load)
	}
	if inOwnNetwork(t) == "" {
		return
	}
	started := exec.Command(os.Getenv(loadProgram), "load", "--sockets", "300000", "--time", "2m")
	started.Env = append(os.Environ(), "GOMAXPROCS=2")
	if _, line := start(t, started); !strings.HasPrefix(line, "300000 sockets") {
		t.Fatalf("got %s", line)
	}
	// The kernel keeps what it made for whoever looked at the links under /proc
	// first, some 300 MiB, and charges it to him. Here that is not the program.
	if output, code := run(t, "--by", "process"); code != 0 {
		t.Fatal(output)
	}
	group := limitedMemory(t, 16<<20)
	// The processes of the load are started as /proc/self/exe.
	const first = "tcp ESTABLISHED: 150000, tcp6 ESTABLISHED: 150000|tcp_ESTABLISHED=150000;;;0 tcp6_ESTABLISHED=150000;;;0"
	const held = "ESTABLISHED held by: exe["
	for _, test := range []struct {
		arguments string
		code      int
		text      string
		lines     []string // what lines after the first one begin with
	}{
		{"", 0, first, nil},
		{"--conn-status close_wait -w 10", 0, `No connections of type "all" in status "close_wait" found.`, nil},
		{"-c total=20000", 2, "tcp ESTABLISHED: 150000, tcp6 ESTABLISHED: 150000, total: 300000 [CRITICAL]", []string{"total held by: exe[", "total peers: "}},
		{"-w 149999 -c tcp6=20000", 2, "tcp ESTABLISHED: 150000 [WARNING], tcp6 ESTABLISHED: 150000 [CRITICAL]", []string{
			"tcp6 " + held, "tcp6 ESTABLISHED peers: ", "tcp " + held, "tcp ESTABLISHED peers: ",
		}},
		{"--by process", 0, "exe: 300000", nil},
		{"--by user,status", 0, "root ESTABLISHED: 300000", nil},
	} {
		t.Run(test.arguments, func(t *testing.T) {
			began := time.Now()
			output, code := outputOf(t, on(t, fmt.Sprintf("echo $$ >%q", group), plugin, strings.Fields(test.arguments)...))
			t.Logf("took %s", time.Since(began))
			lines := strings.Split(strings.TrimSuffix(output, "\n"), "\n")
			_, text, _ := strings.Cut(lines[0], "] - ")
			if code != test.code || !strings.HasPrefix(text, test.text) || len(lines) != 1+len(test.lines) {
				t.Errorf("got %d %s\nwant %d %s", code, output, test.code, test.text)
			}
			for i, line := range lines[1:] {
				if i < len(test.lines) && !strings.HasPrefix(line, test.lines[i]) {
					t.Errorf("got  %s\nwant %s", line, test.lines[i])
				}
			}
			if took := time.Since(began); took > 15*time.Second { // half of the default timeout
				t.Errorf("took %s", took)
			}
		})
	}
}

// loadProgram is the environment variable with the path of the load generator.
const loadProgram = "CHECK_NETWORK_CONNECTIONS_TEST_LOAD"

func TestPeersThatStandOutAreNamedAmongMoreThanCanBeKept(t *testing.T) {
	const leak, others = 2 * maxPeers, maxPeers + 100
	for _, test := range []struct {
		name   string
		leaked int
		want   string
	}{
		{"one has more sockets than all that are not kept", 2 * maxPeers, fmt.Sprintf("10.0.0.5:5432 %d", leak)},
		{"none has", 50, tooManyPeers},
	} {
		t.Run(test.name, func(t *testing.T) {
			var records iter.Seq2[net.ConnectionStat, error] = func(yield func(net.ConnectionStat, error) bool) {
				for i := range test.leaked + others {
					peer := net.Addr{IP: "10.0.0.5", Port: 5432}
					if i >= test.leaked {
						peer = net.Addr{IP: fmt.Sprintf("10.1.%d.%d", i>>8&255, i&255), Port: 443}
					}
					record := net.ConnectionStat{Family: afInet, Type: sockStream, Status: "CLOSE_WAIT", Laddr: net.Addr{IP: "10.0.0.1", Port: 40000}, Raddr: peer}
					if !yield(record, nil) {
						return
					}
				}
			}
			config, err := parseArguments([]string{"-w", "0"})
			if err != nil {
				t.Fatal(err)
			}
			parts := func(Config) []part { return []part{{name: "tcp", sources: []source{{"test", records}}}} }
			group := config.By.group(keyOf("tcp", "CLOSE_WAIT"), part{})
			group.Count = test.leaked + others
			lines, err := culprits(parts, worstGroups(judge([]Group{group}, nil, config)), config)
			if want := "tcp CLOSE WAIT peers: " + test.want; err != nil || !slices.Contains(lines, want) {
				t.Errorf("got  %q, %v\nwant %s", lines, err, want)
			}
		})
	}
}
