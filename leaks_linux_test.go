package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	stdnet "net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"check_network_connections/contrib/e2e"
)

func init() {
	helpers["server"] = server
	helpers["client"] = client
	helpers["busy-host"] = busyHost
	helpers["headless"] = headless
	if os.Getenv(testAs) == "headless" {
		runtime.LockOSThread() // the first thread, for it to end
	}
}

// headless is a server, as is the helper of this name, whose first thread ends.
func headless() {
	go server()
	time.Sleep(100 * time.Millisecond) // for the server to have its name
	_, _, _ = unix.Syscall(unix.SYS_EXIT, 0, 0, 0)
}

// What is left of a process without its first thread shows neither links nor a
// network namespace under /proc/PID.
func TestAProcessWithoutItsFirstThreadIsFound(t *testing.T) {
	plugin := inOwnNetwork(t)
	if plugin == "" {
		return
	}
	process, _ := start(t, helper("headless", "headless", "127.0.0.1:0", "keep"))
	e2e.WaitFor(t, 5*time.Second, "the first thread to end", func() bool {
		links, err := os.ReadDir(procPath(int32(process.Pid), "fd"))
		return err == nil && len(links) == 0
	})
	output, code := runAs(t, 0, plugin, "--process", "headless", "-w", "0", "--no-perfdata")
	want := fmt.Sprintf("[WARNING] - tcp LISTEN: 1 [WARNING]\ntcp LISTEN held by: headless[%d] (root) 1\n", process.Pid)
	if output != want || code != 1 {
		t.Errorf("got %d %s\nwant %s", code, output, want)
	}
	netns, err := netnsOf(int32(os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	all, err := populations()
	if err != nil || all[netns] == nil || !slices.ContainsFunc(all[netns].paths, func(path string) bool {
		ids, _ := threads(int32(process.Pid))
		return slices.ContainsFunc(ids, func(thread int32) bool { return path == procPath(thread, "ns/net") })
	}) {
		t.Errorf("got %v, %v", all[netns], err)
	}
}

// busyHost takes the path of the program and a number, and is the first process
// of a host of its own: it holds as many connections, both ends, while another
// process opens and closes some all the time. It prints what the program says
// of it, again and again, with the exit code in front.
func busyHost() {
	rename("holder")
	listener, err := stdnet.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	go acceptAll(listener)
	number, _ := strconv.Atoi(os.Args[2])
	for range number {
		connection, err := stdnet.Dial("tcp4", listener.Addr().String())
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		kept = append(kept, connection)
	}
	others := helper("churn", listener.Addr().String(), "64")
	if err := others.Start(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	quiet := fmt.Sprintf("[OK] - tcp ESTABLISHED: %d\n", 2*number)
	noticed := false
	for i := 0; i < 100 || !noticed && i < 2000; i++ {
		check := exec.Command(os.Args[1], "--process", "holder", "--conn-status", "established", "--no-perfdata")
		output, _ := check.CombinedOutput()
		noticed = noticed || string(output) != quiet
		fmt.Printf("%d %s\n", check.ProcessState.ExitCode(), strings.TrimSpace(string(output)))
	}
	_ = others.Process.Kill()
	_ = others.Wait()
}

// Sockets that come while the processes are looked through are not lost to
// their process, and those that go are not taken for hidden ones.
func TestAProcessIsToldFromOthersUnderChurn(t *testing.T) {
	e2e.Need(t, "util-linux", "unshare")
	plugin := inOwnNetwork(t)
	if plugin == "" {
		return
	}
	const connections = 200
	host := helper("busy-host", plugin, strconv.Itoa(connections))
	host.Args = append([]string{"unshare", "--pid", "--fork", "--mount-proc", "--kill-child"}, host.Args...)
	host.Path, host.Err = exec.LookPath("unshare")
	output, _ := outputOf(t, host)
	lines := strings.Split(strings.TrimSpace(output), "\n")
	more := 0
	for _, line := range lines {
		var sockets int
		if _, err := fmt.Sscanf(line, "0 [OK] - tcp ESTABLISHED: %d", &sockets); err != nil || sockets < 2*connections {
			t.Fatalf("got %s", line)
		}
		if sockets > 2*connections {
			more++
		}
	}
	if len(lines) < 100 || more == 0 {
		t.Errorf("%d runs, %d of them with connections that came and went", len(lines), more)
	}
}

// rename gives this process the name that others see.
func rename(name string) {
	if err := os.WriteFile("/proc/self/comm", []byte(name), 0); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// server takes a name and an address to listen on, prints the address, and
// accepts connections. With "close" as third argument it closes each at once,
// with "polite" after its peer, otherwise never.
func server() {
	rename(os.Args[1])
	listener, err := stdnet.Listen("tcp", os.Args[2])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(listener.Addr())
	for {
		connection, err := listener.Accept()
		if err != nil {
			os.Exit(1)
		}
		switch os.Args[3] {
		case "close":
			_ = connection.Close()
		case "polite":
			go func() {
				_, _ = io.Copy(io.Discard, connection)
				_ = connection.Close()
			}()
		default:
			kept = append(kept, connection)
		}
	}
}

// kept are connections that must not be collected as garbage, and closed.
var kept []stdnet.Conn

// client takes a name, an address and a number, opens as many connections, and
// says so. It closes them where "close" is the fourth argument, writes to them
// all the time where it is "talk", and keeps them otherwise.
func client() {
	rename(os.Args[1])
	number, _ := strconv.Atoi(os.Args[3])
	for range number {
		connection, err := stdnet.Dial("tcp", os.Args[2])
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		kept = append(kept, connection)
	}
	if os.Args[4] == "close" {
		for _, connection := range kept {
			_ = connection.Close()
		}
	}
	fmt.Println("ready")
	for os.Args[4] == "talk" {
		for _, connection := range kept {
			_, _ = connection.Write([]byte("x"))
		}
		time.Sleep(50 * time.Millisecond)
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// start starts a helper that ends with the test, and returns it and the first
// line that it prints.
func start(t *testing.T, command *exec.Cmd) (process *os.Process, line string) {
	t.Helper()
	output, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	input, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	command.Stderr = os.Stderr
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = input.Close()
		_ = command.Process.Kill()
		_ = command.Wait()
	})
	line, err = bufio.NewReader(output).ReadString('\n')
	if err != nil {
		t.Fatalf("%v: %v", command.Args, err)
	}
	return command.Process, strings.TrimSpace(line)
}

// inOwnNetwork prepares a test of real leaks: as root, in a network namespace
// of its own. It returns the program that every user may run, or "" where the
// test has been run in a child already.
func inOwnNetwork(t *testing.T) string {
	t.Helper()
	e2e.NeedRoot(t)
	plugin := e2e.Plugin(t)
	if !e2e.OwnNetwork(t) {
		return ""
	}
	return plugin
}

func TestALeakIsBlamedOnItsProgram(t *testing.T) {
	plugin := inOwnNetwork(t)
	if plugin == "" {
		return
	}
	leaky, address := start(t, helper("server", "leaky server", "127.0.0.1:0", "keep"))
	start(t, helper("client", "curl", address, "12", "close"))
	_, other := start(t, helper("server", "closing", "[::1]:0", "close"))
	forgetful, _ := start(t, helper("client", "forgetful", other, "7", "keep"))
	waitFor(t, map[e2e.Group]int{{Type: "tcp", Status: "CLOSE_WAIT"}: 12, {Type: "tcp6", Status: "CLOSE_WAIT"}: 7})

	for _, test := range []struct {
		name      string
		user      uint32
		arguments string
		code      int
		lines     []string
	}{
		{"all is well", 0, "-w close_wait=20", 0, nil},
		{
			"root", 0, "-w close_wait=3", 1,
			[]string{
				fmt.Sprintf("tcp CLOSE WAIT held by: leaky server[%d] (root) 12", leaky.Pid),
				"tcp CLOSE WAIT peers: 127.0.0.1:* 12",
				fmt.Sprintf("tcp6 CLOSE WAIT held by: forgetful[%d] (root) 7", forgetful.Pid),
				"tcp6 CLOSE WAIT peers: " + other + " 7",
			},
		},
		{
			"nobody", nobody, "-c tcp6_close_wait=3", 2,
			[]string{
				"tcp6 CLOSE WAIT held by: ? (root) 7", "tcp6 CLOSE WAIT peers: " + other + " 7",
				"7 sockets belong to processes that this user may not see (?): root sees them, and so does a binary with CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH",
			},
		},
		{"no details", 0, "-w close_wait=3 --no-details", 1, nil},
		{
			"gopsutil", 0, "-w tcp6_close_wait=3 --source gopsutil", 1,
			[]string{fmt.Sprintf("tcp6 CLOSE WAIT held by: forgetful[%d] (root) 7", forgetful.Pid), "tcp6 CLOSE WAIT peers: " + other + " 7"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			output, code := runAs(t, test.user, plugin, strings.Fields(test.arguments)...)
			lines := strings.Split(strings.TrimSuffix(output, "\n"), "\n")[1:]
			if code != test.code || strings.Join(lines, "\n") != strings.Join(test.lines, "\n") {
				t.Errorf("got %d\n%s\nwant %d\n%s", code, output, test.code, strings.Join(test.lines, "\n"))
			}
		})
	}

	for _, test := range []struct {
		name      string
		user      uint32
		arguments string
		text      string
	}{
		{"by process", 0, "--by process --conn-status close_wait", "leaky server: 12, forgetful: 7"},
		{"by process and status", 0, "--by process,status --process forgetful", "forgetful CLOSE WAIT: 7"},
		{"sockets that no process holds", 0, "--by process,status --process -", "- FIN WAIT2: 19"},
		{"one excluded", 0, "--by process --conn-status close_wait --process !forgetful", "leaky server: 12"},
		{"by user", 0, "--by user --conn-status close_wait,fin_wait2", "-: 19, root: 19"},
		{"users need no rights", nobody, "--by user --conn-status close_wait,fin_wait2", "-: 19, root: 19"},
		{"a user by name", nobody, "--by user --user root --conn-status close_wait", "root: 19"},
		{"processes of others", nobody, "--by process --conn-status close_wait,fin_wait2", "-: 19, ?: 19"},
		{"the port of a service", nobody, "--by local-port --conn-type tcp --conn-status close_wait", portOf(address) + ": 12"},
		{"what can be told for certain", nobody, "--conn-status close_wait --user nobody --process leaky", `No connections of type "all" in status "close_wait" found.`},
	} {
		t.Run(test.name, func(t *testing.T) {
			output, code := runAs(t, test.user, plugin, strings.Fields(test.arguments)...)
			if text, _ := firstLineOf(output); text != test.text || code != 0 {
				t.Errorf("got %d %s\nwant %s", code, output, test.text)
			}
		})
	}

	t.Run("how many are not seen, and who sees them", func(t *testing.T) {
		output, _ := runAs(t, nobody, plugin, "--by", "process", "--conn-status", "close_wait")
		want := "19 sockets belong to processes that this user may not see (?): root sees them, and so does a binary with CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH"
		if lines := strings.Split(output, "\n"); lines[1] != want {
			t.Errorf("got %s", output)
		}
	})
	for _, arguments := range []string{"--process leaky", "--process !leaky", "--by process -w leaky=3"} {
		t.Run("nobody cannot tell: "+arguments, func(t *testing.T) {
			output, code := runAs(t, nobody, plugin, strings.Fields(arguments+" --conn-status close_wait")...)
			if code != 3 || !strings.Contains(output, "19 sockets belong to processes that this user may not see (?)") {
				t.Errorf("got %d %s", code, output)
			}
		})
	}
}

func portOf(address string) string {
	_, port, _ := stdnet.SplitHostPort(address)
	return port
}

// waitFor waits until the kernel shows as many sockets of these groups.
func waitFor(t *testing.T, want map[e2e.Group]int) {
	t.Helper()
	var rows map[e2e.Group]int
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the kernel had %v", rows)
		}
	})
	e2e.WaitFor(t, 10*time.Second, fmt.Sprint(want), func() bool {
		rows = e2e.NetworkRows(t)
		for group, number := range want {
			if rows[group] != number {
				return false
			}
		}
		return true
	})
}

func TestHostileProcessNamesStayNames(t *testing.T) {
	plugin := inOwnNetwork(t)
	if plugin == "" {
		return
	}
	for name, shown := range map[string]string{
		"a|b=1;2\n3 'x'":    "a_b_1_2_3 _x_",
		"\x1b[31mred\x07":   "__31mred_",
		"<b>x</b>":          "_b_x_/b_",
		"\u202egnp.exe":     "_gnp.exe",
		"a, b: 5 [OK]":      "a_ b_ 5 _OK_",
		"\xff\xfe broken":   "__ broken",
		"   ":               "_",
		"?":                 "_?",
		"-":                 "_-",
		"total":             "_total",
		"x::y":              "x__y",
		"[CRITICAL] - x":    "_CRITICAL_ - x",
		"ünïcödé":           "ünïcödé",
		"fifteen-letters":   "fifteen-letters",
		"$(reboot)`reboot`": "_(reboot)_reboo",
	} {
		t.Run(name, func(t *testing.T) {
			process, address := start(t, helper("server", name, "127.0.0.1:0", "keep"))
			output, code := runAs(t, 0, plugin, "--by", "process", "--local-port", portOf(address), "-w", "0")
			label := shown
			if strings.Contains(label, " ") {
				label = "'" + label + "'"
			}
			want := fmt.Sprintf("[WARNING] - %s: 1 [WARNING]|%s=1;0;;0\n%s held by: %s[%d] (root) 1\n", shown, label, shown, shown, process.Pid)
			if output != want || code != 1 {
				t.Errorf("got  %d %qwant %q", code, output, want)
			}
		})
	}
}

func TestEphemeralPortsOfThePeerThatUsesMost(t *testing.T) {
	plugin := inOwnNetwork(t)
	if plugin == "" {
		return
	}
	for name, value := range map[string]string{"ip_local_port_range": "40000 40099", "ip_local_reserved_ports": "40010-40019"} {
		if err := os.WriteFile("/proc/sys/net/ipv4/"+name, []byte(value), 0); err != nil {
			e2e.Skip(t, "the test narrows the range of ports in its own network namespace: "+err.Error())
		}
	}
	_, database := start(t, helper("server", "database", "127.0.0.1:5432", "keep"))
	_, web := start(t, helper("server", "web", "127.0.0.1:40050", "polite")) // within the range
	ask := func(arguments ...string) (string, int) {
		return runAs(t, nobody, plugin, append(arguments, "--conn-type", "udp", "--no-details")...)
	}

	output, code := ask("-w", "ephemeral=80", "-c", "ephemeral=95")
	if want := "[OK] - ephemeral ports: 0% of 90|ephemeral_ports=0%;80;95;0;100\n"; output != want || code != 0 {
		t.Errorf("unused: got %d %swant %s", code, output, want)
	}

	start(t, helper("client", "leak", database, "72", "keep"))
	output, code = ask("-w", "ephemeral=80", "-c", "ephemeral=95")
	if want := "[OK] - ephemeral ports: 80% of 90 to 127.0.0.1:5432|ephemeral_ports=80%;80;95;0;100\n"; output != want || code != 0 {
		t.Errorf("80 percent: got %d %swant %s", code, output, want)
	}

	// Fewer to another peer do not matter: their ports can be the same.
	start(t, helper("client", "browser", web, "10", "keep"))
	start(t, helper("client", "leak", database, "3", "keep"))
	output, code = ask("-w", "ephemeral=80", "-c", "ephemeral=95")
	if want := "[WARNING] - ephemeral ports: 83% of 90 to 127.0.0.1:5432 [WARNING]|ephemeral_ports=83.3%;80;95;0;100\n"; output != want || code != 1 {
		t.Errorf("83 percent: got %d %swant %s", code, output, want)
	}

	// Neither do those from another local address, nor what is selected.
	for range 10 {
		dialer := stdnet.Dialer{
			LocalAddr: &stdnet.TCPAddr{IP: stdnet.IPv4(127, 0, 0, 2)},
			Control: func(_, _ string, socket syscall.RawConn) (err error) { // a port for this peer only
				fault := socket.Control(func(fd uintptr) {
					err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
				})
				return errors.Join(fault, err)
			},
		}
		connection, err := dialer.Dial("tcp", database)
		if err != nil {
			t.Fatal(err)
		}
		defer connection.Close()
	}
	for _, selected := range []string{"--local-port=1", "--process=-", "--user=4711", "--remote-address=!127.0.0.1", "--min-idle=1h --conn-type=tcp", "--by=status"} {
		output, _ = ask(append(strings.Fields(selected), "-w", "ephemeral=80", "-c", "ephemeral=95")...)
		if !strings.Contains(output, "ephemeral ports: 83% of 90 to 127.0.0.1:5432 [WARNING]|") {
			t.Errorf("%s: got %s", selected, output)
		}
	}

	// A connection that only the peer has closed keeps its port too.
	_, closing := start(t, helper("server", "closing", "127.0.0.1:5433", "close"))
	start(t, helper("client", "leak", closing, "79", "keep"))
	waitFor(t, map[e2e.Group]int{{Type: "tcp", Status: "CLOSE_WAIT"}: 79})
	output, code = ask("-w", "ephemeral=80", "-c", "ephemeral=95")
	if want := "[WARNING] - ephemeral ports: 87% of 90 to 127.0.0.1:5433 [WARNING]|ephemeral_ports=87.8%;80;95;0;100\n"; output != want || code != 1 {
		t.Errorf("87 percent: got %d %swant %s", code, output, want)
	}

	// TIME_WAIT keeps the port. The kernel may give some of them up early.
	start(t, helper("client", "visitor", web, "78", "close"))
	waiting := e2e.Group{Type: "tcp", Status: "TIME_WAIT"}
	e2e.WaitFor(t, 10*time.Second, "most visitors to be in TIME_WAIT", func() bool { return e2e.NetworkRows(t)[waiting] > 68 })
	time.Sleep(200 * time.Millisecond) // for the last ones
	percent := float64(10+e2e.NetworkRows(t)[waiting]) / 90 * 100
	output, code = ask("-c", "ephemeral=85")
	want := fmt.Sprintf("[CRITICAL] - ephemeral ports: %d%% of 90 to 127.0.0.1:40050 [CRITICAL]|ephemeral_ports=%s%%;;85;0;100\n",
		int(percent), strings.TrimSuffix(fmt.Sprintf("%.1f", percent), ".0"))
	if output != want || code != 2 {
		t.Errorf("with TIME_WAIT: got %d %swant %s", code, output, want)
	}
}

func TestIdleConnectionsAreToldFromBusyOnes(t *testing.T) {
	plugin := inOwnNetwork(t)
	if plugin == "" {
		return
	}
	_, address := start(t, helper("server", "server", "127.0.0.1:0", "keep"))
	start(t, helper("client", "idle", address, "4", "keep"))
	start(t, helper("client", "busy", address, "3", "talk"))
	start(t, helper("client", "leak", address, "2", "close"))
	time.Sleep(2 * time.Second)
	for arguments, want := range map[string]string{
		"":               "tcp ESTABLISHED: 14, tcp CLOSE WAIT: 2, tcp FIN WAIT2: 2, tcp LISTEN: 1",
		"--min-idle 1s":  "tcp ESTABLISHED: 8, tcp CLOSE WAIT: 2",
		"--min-idle 1h":  `No connections of type "all" in status "all" found.`,
		"--min-idle 1ms": "tcp ESTABLISHED: 14, tcp CLOSE WAIT: 2",
		"--min-idle 1.5s --conn-status close_wait --by process": "server: 2",
	} {
		output, code := runAs(t, 0, plugin, strings.Fields(arguments)...)
		if arguments == "--min-idle 1ms" {
			// Those that are busy may be found idle for a millisecond, or not.
			if !strings.Contains(output, "tcp CLOSE WAIT: 2") || strings.Contains(output, "LISTEN") {
				t.Errorf("%s: got %s", arguments, output)
			}
			continue
		}
		if text, _ := firstLineOf(output); text != want || code != 0 {
			t.Errorf("%s: got %d %s\nwant %s", arguments, code, output, want)
		}
	}
}

func TestNetworkNamespaces(t *testing.T) {
	e2e.NeedRoot(t)
	e2e.Need(t, "iproute2", "ip")
	plugin := e2e.Plugin(t)
	names := []string{fmt.Sprintf("test-%d-a", os.Getpid()), fmt.Sprintf("test-%d-b", os.Getpid())}
	var processes []string
	for i, name := range names {
		e2e.Run(t, "ip", "netns", "add", name)
		t.Cleanup(func() { e2e.Run(t, "ip", "netns", "delete", name) })
		e2e.Run(t, "ip", "-n", name, "link", "set", "lo", "up")
		command := helper("server", "server-"+strconv.Itoa(i), "127.0.0.1:0", "keep")
		command.Args = append([]string{"ip", "netns", "exec", name}, command.Args...)
		command.Path, _ = exec.LookPath("ip")
		process, address := start(t, command)
		command = helper("client", "client", address, strconv.Itoa(i+1), "keep")
		command.Args = append([]string{"ip", "netns", "exec", name}, command.Args...)
		command.Path, _ = exec.LookPath("ip")
		start(t, command)
		processes = append(processes, strconv.Itoa(process.Pid))
	}
	stale := filepath.Join(netnsFolder, fmt.Sprintf("test-%d-stale", os.Getpid()))
	if err := os.WriteFile(stale, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(stale) })

	second := "tcp ESTABLISHED: 4, tcp LISTEN: 1"
	for _, test := range []struct{ name, arguments, text string }{
		{"by name", "--netns " + names[1], second},
		{"by process id", "--netns " + processes[1], second},
		{"by path", "--netns /proc/" + processes[1] + "/ns/net", second},
		{"with its name", "--netns " + processes[1] + " --by netns,status", names[1] + " ESTABLISHED: 4, " + names[1] + " LISTEN: 1"},
		{"with the processes in it", "--netns " + names[0] + " --by process --conn-status listen", "server-0: 1"},
		{"with its ephemeral ports", "--netns " + names[0] + " --conn-type udp -w ephemeral=50", "ephemeral ports: 0% of "},
	} {
		t.Run(test.name, func(t *testing.T) {
			output, code := runAs(t, 0, plugin, strings.Fields(test.arguments)...)
			if text, _ := firstLineOf(output); !strings.HasPrefix(text, test.text) || code != 0 {
				t.Errorf("got %d %s\nwant %s", code, output, test.text)
			}
		})
	}
	t.Run("all, each once", func(t *testing.T) {
		output, code := runAs(t, 0, plugin, "--netns", "all", "--by", "netns,status", "--top", "0")
		for _, item := range []string{names[0] + " ESTABLISHED: 2", names[0] + " LISTEN: 1", names[1] + " ESTABLISHED: 4", names[1] + " LISTEN: 1"} {
			if strings.Count(output, item+",")+strings.Count(output, item+"|") != 1 {
				t.Errorf("%q must be there once: %d %s", item, code, output)
			}
		}
		if strings.Contains(output, "stale") {
			t.Errorf("what is left of a namespace is none: %s", output)
		}
	})
	t.Run("all, with the culprits of one", func(t *testing.T) {
		output, code := runAs(t, 0, plugin, "--netns", "all", "--by", "netns,status", "--conn-status", "established", "--no-perfdata", "-w", names[1]+"_established=3")
		lines := strings.Split(output, "\n")
		held := names[1] + " ESTABLISHED held by: "
		if code != 1 || len(lines) != 4 || !strings.HasPrefix(lines[1], held) || !strings.Contains(lines[1], "server-1["+processes[1]+"] (root) 2") ||
			!strings.HasPrefix(lines[2], names[1]+" ESTABLISHED peers: 127.0.0.1:* 2, 127.0.0.1:") {
			t.Errorf("got %d %s", code, output)
		}
	})
	for _, test := range []struct{ wanted, message string }{
		{"no-such-namespace", `--netns: "no-such-namespace": there is no network namespace of this name, process id or path`},
		{"2147483646", `--netns: "2147483646": there is no network namespace of this name, process id or path`},
		{"/etc/passwd", `--netns: "/etc/passwd": this is not a network namespace`},
		{filepath.Base(stale), `--netns: "` + filepath.Base(stale) + `": this is not a network namespace`},
	} {
		output, code := runAs(t, 0, plugin, "--netns", test.wanted)
		if output != "[UNKNOWN] - "+test.message+"\n" || code != 3 {
			t.Errorf("got %d %s", code, output)
		}
	}
	rights := "reading another network namespace needs root, or CAP_SYS_ADMIN and CAP_SYS_PTRACE on the file\n"
	for _, wanted := range []string{names[0], processes[0], "all"} {
		output, code := runAs(t, nobody, plugin, "--netns", wanted)
		if code != 3 || !strings.HasSuffix(output, rights) {
			t.Errorf("nobody, %s: got %d %s", wanted, code, output)
		}
	}
	t.Run("our own needs no rights", func(t *testing.T) {
		output, code := runAs(t, nobody, plugin, "--netns", "/proc/self/ns/net")
		if code != 0 {
			t.Errorf("got %d %s", code, output)
		}
	})
}

func TestNetworkNamespacesWithoutNamesAreToldApart(t *testing.T) {
	e2e.NeedRoot(t)
	e2e.Need(t, "util-linux iproute2", "unshare", "nsenter", "ip")
	plugin := e2e.Plugin(t)
	const script = `ip link set lo up && echo 40000 40009 >/proc/sys/net/ipv4/ip_local_port_range && exec "$@"`
	var twins []string
	for range 2 {
		server := helper("server", "twin", "127.0.0.1:5432", "keep")
		server.Args = append([]string{"unshare", "--net", "sh", "-c", script, "sh"}, server.Args...)
		server.Path, server.Err = exec.LookPath("unshare")
		process, address := start(t, server)
		client := helper("client", "client", address, "4", "keep")
		client.Args = append([]string{"nsenter", "--net", "--target", strconv.Itoa(process.Pid)}, client.Args...)
		client.Path, client.Err = exec.LookPath("nsenter")
		start(t, client)
		twins = append(twins, fmt.Sprintf("twin-%d", process.Pid))
	}
	output, code := runAs(t, 0, plugin, "--netns", "all", "--by", "netns,status", "--top", "0", "--no-perfdata")
	for _, twin := range twins {
		if !strings.Contains(output, twin+" ESTABLISHED: 8") || !strings.Contains(output, twin+" LISTEN: 1") || code != 0 {
			t.Errorf("%s: got %d %s", twin, code, output)
		}
	}
	// The same ports, to the same peer, but of two namespaces.
	output, code = runAs(t, 0, plugin, "--netns", "all", "--conn-type", "udp", "-c", "ephemeral=50")
	if text, _ := firstLineOf(output); !strings.Contains(text, "ephemeral ports: 40% of 10 to 127.0.0.1:5432 in twin-") || code != 0 {
		t.Errorf("ephemeral ports: got %d %s", code, output)
	}
	output, code = runAs(t, nobody, plugin, "--netns", "all", "--by", "netns")
	if want := "[UNKNOWN] - reading another network namespace needs root, or CAP_SYS_ADMIN and CAP_SYS_PTRACE on the file\n"; output != want || code != 3 {
		t.Errorf("nobody: got %d %s", code, output)
	}
}

// What has a name is there without any process too.
func TestANamedNamespaceOutlivesItsProcesses(t *testing.T) {
	e2e.NeedRoot(t)
	e2e.Need(t, "iproute2", "ip")
	name := fmt.Sprintf("test-%d-c", os.Getpid())
	e2e.Run(t, "ip", "netns", "add", name)
	t.Cleanup(func() { e2e.Run(t, "ip", "netns", "delete", name) })
	e2e.Run(t, "ip", "-n", name, "link", "set", "lo", "up")
	server := helper("server", "short-lived", "127.0.0.1:0", "keep")
	server.Args = append([]string{"ip", "netns", "exec", name}, server.Args...)
	server.Path, server.Err = exec.LookPath("ip")
	process, address := start(t, server)
	client := helper("client", "client", address, "3", "close")
	client.Args = append([]string{"ip", "netns", "exec", name}, client.Args...)
	client.Path, client.Err = exec.LookPath("ip")
	other, _ := start(t, client)

	config, err := parseArguments([]string{"--netns", "all", "--by", "netns", "--conn-type", "tcp"})
	if err != nil {
		t.Fatal(err)
	}
	host, err := findHost(config)
	if err != nil {
		t.Fatal(err)
	}
	for _, process := range []*os.Process{process, other} {
		_ = process.Kill()
		_, _ = process.Wait()
	}
	// The clients closed first, so that they are in TIME_WAIT or FIN_WAIT2.
	reading, err := count(host.parts(t.Context(), config), config)
	if err != nil || !slices.ContainsFunc(reading.Groups, func(g Group) bool { return g.Label == name && g.Count > 0 }) {
		t.Errorf("got %v, %v", reading.Groups, err)
	}
}

func TestTheFullestPortsAreThoseWithTheLargestShare(t *testing.T) {
	for _, test := range []struct {
		name       string
		less, more EphemeralPorts
		neither    bool
	}{
		{"more of as many", EphemeralPorts{Used: 1, Size: 10}, EphemeralPorts{Used: 2, Size: 10}, false},
		{"fewer of fewer", EphemeralPorts{Used: 30, Size: 100}, EphemeralPorts{Used: 8, Size: 10}, false},
		{"nearly all that there are", EphemeralPorts{Used: 10, Size: 64512}, EphemeralPorts{Used: 64000, Size: 64512}, false},
		{"as many, by the peer", EphemeralPorts{Used: 5, Size: 10, Peer: "b"}, EphemeralPorts{Used: 5, Size: 10, Peer: "a"}, false},
		{"none", EphemeralPorts{Size: 10, Peer: "b"}, EphemeralPorts{Size: 10, Peer: "a"}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.more.isFuller(test.less) == test.neither || test.less.isFuller(test.more) {
				t.Errorf("got %t and %t", test.more.isFuller(test.less), test.less.isFuller(test.more))
			}
		})
	}
}

func TestANamespaceThatVanishesIsSkipped(t *testing.T) {
	gone := namespace{inode: 1, paths: []string{"/proc/2147483646/ns/net", "/run/netns/gone"}, mayVanish: true}
	replaced := namespace{inode: 1, paths: []string{"/proc/self/ns/net"}, mayVanish: true} // another inode
	for _, space := range []namespace{gone, replaced} {
		diag := &sockDiag{dial: func() (*netlink.Conn, error) { return dialSockDiag(t.Context(), space) }}
		counts, err := (tally{}).of(diag.records(mustDump(t, "tcp")))
		if err != nil || len(counts.sockets) != 0 {
			t.Errorf("got %v, %v", counts, err)
		}
		space.mayVanish = false
		diag = &sockDiag{dial: func() (*netlink.Conn, error) { return dialSockDiag(t.Context(), space) }}
		if _, err := (tally{}).of(diag.records(mustDump(t, "tcp"))); err == nil {
			t.Error("the one that was asked for must not be skipped")
		}
	}
}
