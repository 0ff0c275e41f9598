package main

import (
	"fmt"
	stdnet "net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode"

	"golang.org/x/sys/unix"

	"check_network_connections/contrib/e2e"
)

func init() { helpers["space"] = spaceServer }

// spaceServer takes a name, an address to listen on and a number, and prepares the
// empty network namespace that it is in: it has so many connections to itself.
// It ends with its standard input, and prints the address. A fourth argument is
// the name of the host that it believes to be on.
func spaceServer() {
	rename(os.Args[1])
	if len(os.Args) > 4 {
		must(unix.Sethostname([]byte(os.Args[4])))
	}
	control, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	must(err)
	loopback, err := unix.NewIfreq("lo")
	must(err)
	loopback.SetUint16(unix.IFF_UP)
	must(unix.IoctlIfreq(control, unix.SIOCSIFFLAGS, loopback))
	must(unix.Close(control))
	number, err := strconv.Atoi(os.Args[3])
	must(err)
	ports := max(10, 2*number)
	must(os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", fmt.Appendf(nil, "40000 %d", 40000+ports-1), 0))
	listening, err := stdnet.Listen("tcp", os.Args[2])
	must(err)
	for range number {
		connection, err := stdnet.Dial("tcp", listening.Addr().String())
		must(err)
		other, err := listening.Accept()
		must(err)
		kept = append(kept, connection, other)
	}
	fmt.Println(listening.Addr())
	_, _ = os.Stdin.Read(make([]byte, 1))
}

// newSpace starts a process in a network namespace of its own, and returns it.
func newSpace(t *testing.T, name string, connections int) *os.Process {
	t.Helper()
	command := helper("space", name, "127.0.0.1:5432", strconv.Itoa(connections))
	command.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	process, _ := startHelper(t, command)
	return process
}

// spaces is a host that has no other processes, and no other network namespaces,
// than the ones given.
type spaces struct {
	processes []*os.Process
	names     map[string]*os.Process // in /run/netns
	stale     string                 // what is left of one there
}

// command returns the command that runs the program there.
func (s spaces) command(t *testing.T, path string, arguments ...string) *exec.Cmd {
	t.Helper()
	if !procfs("/proc").seesAll() {
		e2e.Skip(t, "the tests run in a PID namespace, that of a container")
	}
	script := fmt.Sprintf(`real=%q
mount --rbind /proc "$real"
mount -t tmpfs none /proc
mount -t tmpfs none /run
mkdir /run/netns
for name in self thread-self net sys mounts; do ln -s "$real/$name" /proc/; done
ln -s "$real/$$" /proc/1
mkdir /proc/2
cat "$real/2/stat" >/proc/2/stat
`, e2e.Folder(t))
	for _, process := range s.processes {
		script += fmt.Sprintf("ln -s \"$real/%d\" /proc/\n", process.Pid)
	}
	for name, process := range s.names {
		path := "'" + strings.ReplaceAll(filepath.Join(netnsFolder, name), "'", `'\''`) + "'"
		script += fmt.Sprintf("touch %[1]s && mount --bind \"$real/%[2]d/ns/net\" %[1]s\n", path, process.Pid)
	}
	if s.stale != "" {
		script += fmt.Sprintf("touch %q\n", filepath.Join(netnsFolder, s.stale))
	}
	return inMounts(t, script, path, arguments...)
}

func TestNetworkNamespaces(t *testing.T) {
	plugin := inOwnNetwork(t)
	if plugin == "" {
		return
	}
	first, database := newSpace(t, "web", 1), newSpace(t, "database", 2)
	twins := []*os.Process{newSpace(t, "twin", 3), newSpace(t, "twin", 4)}
	all := spaces{
		processes: append([]*os.Process{first, database}, twins...),
		names:     map[string]*os.Process{"blue": first, "green": database},
		stale:     "stale",
	}
	id := strconv.Itoa(database.Pid)
	const rights = "reading another network namespace needs root, or CAP_SYS_ADMIN and CAP_SYS_PTRACE on the file"
	const missing = "there is no network namespace of this name, process id or path"
	for _, test := range []struct {
		name, arguments string
		code            int
		text            string // a trailing ... stands for anything
	}{
		{"by name", "--netns green", 0, "tcp ESTABLISHED: 4, tcp LISTEN: 1"},
		{"by process id", "--netns " + id, 0, "tcp ESTABLISHED: 4, tcp LISTEN: 1"},
		{"by path", "--netns /proc/" + id + "/ns/net", 0, "tcp ESTABLISHED: 4, tcp LISTEN: 1"},
		{"with its name", "--netns " + id + " --by netns,status", 0, "green ESTABLISHED: 4, green LISTEN: 1"},
		{"with the name of a process", "--netns " + strconv.Itoa(twins[0].Pid) + " --by netns,status", 0, "twin ESTABLISHED: 6, twin LISTEN: 1"},
		{"with the processes in it", "--netns blue --by process --conn-status listen", 0, "web: 1"},
		{"with its ephemeral ports", "--netns green --conn-type udp -w ephemeral=50", 0, "ephemeral ports: 20% of 10 to 127.0.0.1:5432"},
		{"our own", "--netns /proc/self/ns/net", 0, `No connections of type "all" in status "all" found.`},
		{"all, each once", "--netns all --by netns,status", 0, "twin ESTABLISHED: 14, green ESTABLISHED: 4, blue ESTABLISHED: 2, twin LISTEN: 2, blue LISTEN: 1, green LISTEN: 1"},
		{"all, by type and status", "--netns all", 0, "tcp ESTABLISHED: 20, tcp LISTEN: 4"},
		{"all, with the fullest ephemeral ports", "--netns all --conn-type udp -c ephemeral=50", 0, "ephemeral ports: 40% of 10 to 127.0.0.1:5432 in twin"},
		{"all, by process", "--netns all --by process", 0, "twin: 16, database: 5, web: 3"},
		{"what is not there", "--netns no-such-namespace", 3, `--netns: "no-such-namespace": ` + missing},
		{"a process that is not there", "--netns 2147483646", 3, `--netns: "2147483646": ` + missing},
		{"a file", "--netns /etc/passwd", 3, `--netns: "/etc/passwd": this is not a network namespace`},
		{"what is left of one", "--netns stale", 3, `--netns: "stale": this is not a network namespace`},
	} {
		t.Run(test.name, func(t *testing.T) {
			output, code := outputOf(t, all.command(t, plugin, append(strings.Fields(test.arguments), "--no-perfdata")...))
			if text := textOf(output); text != test.text || code != test.code {
				t.Errorf("got %d %s\nwant %s", code, output, test.text)
			}
		})
	}
	for _, wanted := range []string{"green", id, "all"} {
		t.Run("without the rights, "+wanted, func(t *testing.T) {
			if printed, _ := exec.Command("setpriv", "--help").CombinedOutput(); !strings.Contains(string(printed), "--reuid") {
				t.Skip("setpriv is not that of util-linux")
			}
			command := all.command(t, "setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", plugin, "--netns", wanted)
			if output, code := outputOf(t, command); code != 3 || !strings.Contains(output, rights+": ") {
				t.Errorf("got %d %s", code, output)
			}
		})
	}
	t.Run("culprits of one", func(t *testing.T) {
		output, code := outputOf(t, all.command(t, plugin, strings.Fields("--netns all --by netns,status --conn-status established --no-perfdata -w green_established=3")...))
		want := `[WARNING] - green ESTABLISHED: 4 [WARNING] (database 4), twin ESTABLISHED: 14, blue ESTABLISHED: 2
green ESTABLISHED held by: database (root) 4
green ESTABLISHED peers: from 127.0.0.1 at 127.0.0.1:5432 2, to 127.0.0.1:5432 2
green ESTABLISHED idle: longest ..., median ..., 4 within the last minute
`
		if undated(output) != want || code != 1 {
			t.Errorf("got %d %s\nwant %s", code, output, want)
		}
	})
	// There are sockets in all of them whose processes are not under /proc.
	t.Run("processes are looked through twice at most", func(t *testing.T) {
		unseen := spaces{processes: []*os.Process{twins[0]}, names: map[string]*os.Process{"blue": first, "green": database, "red": twins[1]}}
		command := unseen.command(t, plugin, strings.Fields("--netns all --by process -w 0 --debug --no-perfdata")...)
		var told strings.Builder
		command.Stderr = &told
		output, err := command.Output()
		if command.ProcessState == nil {
			t.Fatal(err)
		}
		if looks := strings.Count(told.String(), "debug: sockets of processes:"); looks < 1 || looks > 2 {
			t.Errorf("%d looks:\n%s", looks, told.String())
		}
		reads := 0
		for line := range strings.Lines(told.String()) {
			if strings.Contains(line, "netlink: [tcp tcp6]") && strings.Contains(line, "error none") {
				reads++
			}
		}
		if reads != 2*5 {
			t.Errorf("%d walks through the tcp sockets of five network namespaces:\n%s", reads, told.String())
		}
		if code, text := command.ProcessState.ExitCode(), textOf(string(output)); code != 1 || text != "twin: 7 [WARNING], ?: 17" {
			t.Errorf("got %d %s", code, output)
		}
	})
}

func TestNamesOfNetworkNamespacesAreMadeHarmless(t *testing.T) {
	plugin := inOwnNetwork(t)
	if plugin == "" {
		return
	}
	process := newSpace(t, "web", 1)
	for name, shown := range map[string]string{
		"a|b=1;2 'x'": "a_b_1_2 _x_", "\x1b[31mred": "__31mred", "<b>&amp;": "_b__amp_", "total": "_total", "?": "_?", "\xff\xfe": "__",
		"x::y": "x__y", "$(reboot)": "_(reboot)", "   ": "_", "a, b: 5 [OK]": "a_ b_ 5 _OK_",
	} {
		only := spaces{names: map[string]*os.Process{name: process}}
		command := only.command(t, plugin, "--netns", "all", "--by", "netns,type", "-w", "2", "--debug")
		var stdout, stderr strings.Builder
		command.Stdout, command.Stderr = &stdout, &stderr
		_ = command.Run()
		for line := range strings.Lines(stderr.String()) {
			if isHarmful := func(r rune) bool { return !unicode.IsPrint(r) }; !strings.HasPrefix(line, "debug: ") || strings.ContainsFunc(strings.TrimSuffix(line, "\n"), isHarmful) {
				t.Errorf("%q: on standard error: %q", name, line)
			}
		}
		label := strings.ReplaceAll(shown, " ", "_") + "_tcp"
		want := fmt.Sprintf("[WARNING] - %s tcp: 3 [WARNING]|%s=3;2;;0", shown, label)
		if line, _, _ := strings.Cut(stdout.String(), "\n"); line != want || command.ProcessState.ExitCode() != 1 {
			t.Errorf("%q: got %s, %s\nwant %s", name, command.ProcessState, line, want)
		}
	}
}

// What stands for a namespace may be a process that ends, or a name that stays.
func TestNamespaceIsReadAsLongAsAnythingStandsForIt(t *testing.T) {
	if inOwnNetwork(t) == "" {
		return
	}
	process := newSpace(t, "short-lived", 2)
	path := fmt.Sprintf("/proc/%d/ns/net", process.Pid)
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	one := namespace{inode: inodeOf(info), paths: []string{path, fmt.Sprintf("/proc/self/fd/%d", file.Fd())}, mayVanish: true}
	inside := func() (inode uint64, err error) {
		err = one.within(func() error {
			own, err := os.Stat("/proc/thread-self/ns/net")
			if err == nil {
				inode = inodeOf(own)
			}
			return err
		})
		return inode, err
	}
	if inode, err := inside(); inode != one.inode || err != nil {
		t.Errorf("with its process: got %d, %v", inode, err)
	}
	_ = process.Kill()
	_, _ = process.Wait()
	if inode, err := inside(); inode != one.inode || err != nil {
		t.Errorf("with its name: got %d, %v", inode, err)
	}
	_ = file.Close()
	if inode, err := inside(); err != errVanished {
		t.Errorf("with nothing: got %d, %v", inode, err)
	}
}

func init() { helpers["births"] = births }

// births starts processes that live for a moment, in a network namespace that
// each hands on to the next one, until it is killed.
func births() {
	rename("births")
	fmt.Println("ready")
	for {
		for range 4 {
			child := exec.Command("sleep", "0.01")
			child.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
			must(child.Start())
			go func() { _ = child.Wait() }()
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestProcessesThatEndMeanwhileAreNoReasonToRefuse(t *testing.T) {
	e2e.NeedLong(t)
	plugin := inOwnNetwork(t)
	if plugin == "" {
		return
	}
	startHelper(t, helper("births"))
	stays := fmt.Sprint("stays", os.Getpid()) // others may run this test too
	newSpace(t, stays, 2)
	var failed []string
	for range 500 {
		output, code := runBy(t, 0, plugin, "--netns", "all", "--by", "netns,process", "--process", stays, "--no-perfdata")
		if text := textOf(output); code != 0 || !strings.HasPrefix(text, stays+" "+stays+": 5") {
			failed = append(failed, strings.TrimSpace(output))
		}
	}
	slices.Sort(failed)
	if len(failed) > 0 {
		t.Errorf("%d of 500 runs: %q", len(failed), slices.Compact(failed))
	}
}

// Root in a user namespace of its own may leave a network that is not its own, and
// not come back: then other sockets would be taken for those of this network.
func TestNoNamespaceIsEnteredWithoutAWayBack(t *testing.T) {
	plugin := inOwnNetwork(t)
	if plugin == "" {
		return
	}
	e2e.Need(t, "util-linux", "unshare")
	listens(t, "127.0.0.1:7001", 1, false)
	const script = `unshare --net sleep infinity & until [ "$(readlink /proc/$!/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do :; done; "$0" --netns $!; echo $?; kill $!; "$0"; echo $?`
	output, _ := outputOf(t, exec.Command("unshare", "--user", "--map-root-user", "sh", "-c", script, plugin))
	if lines := strings.Split(output, "\n"); len(lines) != 5 || !strings.Contains(lines[0], "not even root may read this network namespace here: setns ") ||
		lines[1] != "3" || lines[2] != "[OK] - tcp LISTEN: 1|tcp_LISTEN=1;;;0" || lines[3] != "0" {
		t.Errorf("got %s", output)
	}
}
