package main

import (
	"encoding/binary"
	"fmt"
	stdnet "net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"check_network_connections/contrib/e2e"
)

func TestLeakIsBlamedOnItsProgram(t *testing.T) {
	plugin := inOwnNetwork(t)
	if plugin == "" {
		return
	}
	_, address := startHelper(t, helper("server", "leaky server", "127.0.0.1:0", "keep"))
	startHelper(t, helper("client", "curl", address, "12", "close"))
	_, other := startHelper(t, helper("server", "closing", "[::1]:0", "close"))
	startHelper(t, helper("client", "forgetful", other, "7", "keep"))
	waitForRows(t, map[e2e.Group]int{{Type: "tcp", Status: "CLOSE_WAIT"}: 12, {Type: "tcp6", Status: "CLOSE_WAIT"}: 7})
	unseen := func(number int) string {
		return fmt.Sprintf("the processes of %d sockets are hidden from this user (?): root sees them, and so does every user after setcap cap_sys_ptrace,cap_dac_read_search+ep %s", number, plugin)
	}

	for _, test := range []struct {
		name      string
		user      uint32
		arguments string
		code      int
		lines     []string // the first one without performance data
	}{
		{"all is well", 0, "-w close_wait=20 --conn-status close_wait", 0, []string{"[OK] - tcp CLOSE WAIT: 12, tcp6 CLOSE WAIT: 7"}},
		{
			"root", 0, "-w close_wait=3 --conn-status close_wait", 1,
			[]string{
				"[WARNING] - tcp CLOSE WAIT: 12 [WARNING] (leaky server 12), tcp6 CLOSE WAIT: 7 [WARNING]",
				"tcp CLOSE WAIT held by: leaky server (root) 12",
				"tcp CLOSE WAIT peers: from 127.0.0.1 at " + address + " 12",
				"tcp CLOSE WAIT idle: longest ..., median ..., 12 within the last minute",
				"tcp6 CLOSE WAIT held by: forgetful (root) 7",
				"tcp6 CLOSE WAIT peers: to " + other + " 7",
				"tcp6 CLOSE WAIT idle: longest ..., median ..., 7 within the last minute",
			},
		},
		{
			"nobody", nobody, "-c tcp6_close_wait=3 --conn-type tcp6 --conn-status close_wait", 2,
			[]string{"[CRITICAL] - tcp6 CLOSE WAIT: 7 [CRITICAL]", "tcp6 CLOSE WAIT held by: ? (root) 7", "tcp6 CLOSE WAIT peers: to " + other + " 7", "tcp6 CLOSE WAIT idle: longest ..., median ..., 7 within the last minute", unseen(7)},
		},
		{"no details", 0, "-w close_wait=3 --conn-status close_wait --conn-type tcp --no-details", 1, []string{"[WARNING] - tcp CLOSE WAIT: 12 [WARNING]"}},
		{
			"gopsutil", 0, "-w 3 --source gopsutil --conn-type tcp6 --conn-status close_wait", 1,
			[]string{"[WARNING] - tcp6 CLOSE WAIT: 7 [WARNING] (forgetful 7)", "tcp6 CLOSE WAIT held by: forgetful (root) 7", "tcp6 CLOSE WAIT peers: to " + other + " 7", "gopsutil is for comparing: it leaves out sockets that look alike (SO_REUSEPORT listeners, UDP sockets bound alike)"},
		},
		{"by process", 0, "--by process --conn-status close_wait", 0, []string{"[OK] - leaky server: 12, forgetful: 7"}},
		{"by process and status", 0, "--by process,status --process forgetful", 0, []string{"[OK] - forgetful CLOSE WAIT: 7"}},
		{"sockets that no process holds", 0, "--by process,status --process -", 0, []string{"[OK] - - FIN WAIT2: 19"}},
		{"one excluded", 0, "--by process --conn-status close_wait --process !forgetful", 0, []string{"[OK] - leaky server: 12"}},
		{"by user", 0, "--by user --conn-status close_wait,fin_wait2", 0, []string{"[OK] - -: 19, root: 19"}},
		{"users need no rights", nobody, "--by user --conn-status close_wait,fin_wait2", 0, []string{"[OK] - -: 19, root: 19"}},
		{"a user by name", nobody, "--by user --user root --conn-status close_wait", 0, []string{"[OK] - root: 19"}},
		{"processes of others", nobody, "--by process --conn-status close_wait,fin_wait2", 0, []string{"[OK] - -: 19, ?: 19", unseen(19)}},
		{"the port of a service", nobody, "--by local-port --conn-type tcp --conn-status close_wait", 0, []string{"[OK] - " + portOf(address) + ": 12"}},
		{
			"what can be told for certain", nobody, "--conn-status close_wait --user nobody --process leaky", 0,
			[]string{`[OK] - No connections of type "all" in status "close_wait" with --process leaky and --user nobody found.`},
		},
		{"a process of others", nobody, "--process leaky --conn-status close_wait", 3, []string{"[UNKNOWN] - --process finds nothing for certain: " + unseen(19)}},
		{"a process of others excluded", nobody, "--process !leaky --conn-status close_wait", 3, []string{"[UNKNOWN] - --process finds nothing for certain: " + unseen(19)}},
		{"a verdict on others", nobody, "--by process -w leaky=3 --conn-status close_wait", 3, []string{"[UNKNOWN] - hidden sockets could change the result: " + unseen(19)}},
		{"a verdict whatever there is", nobody, "--process leaky -w tcp_close_wait=100 --conn-status close_wait --conn-type tcp", 0, []string{"[OK] - tcp CLOSE WAIT: 0 to 12", unseen(12)}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if isBigEndian := binary.NativeEndian.Uint16([]byte{0, 1}) == 1; isBigEndian && test.name == "gopsutil" {
				t.Skip("gopsutil turns the addresses of IPv6 round on this processor")
			}
			output, code := runBy(t, test.user, plugin, append(strings.Fields(test.arguments), "--no-perfdata")...)
			if want := strings.Join(test.lines, "\n") + "\n"; code != test.code || undated(output) != want {
				t.Errorf("got %d\n%s\nwant %d\n%s", code, output, test.code, want)
			}
		})
	}
}

func TestNamesOfRealProcessesAreMadeHarmless(t *testing.T) {
	plugin := inOwnNetwork(t)
	if plugin == "" {
		return
	}
	long := strings.Repeat("<b>|\n;=, ", 7<<10)
	for _, test := range []struct{ name, shown string }{
		{"a|b=1;2\n3 'x'", "a_b_1_2_3 _x_"},
		{"\x1b[31mred\x07", "__31mred_"},
		{"<b>x</b>", "_b_x_/b_"},
		{"\u202egnp.exe", "_gnp.exe"},
		{"a, b: 5 [OK]", "a_ b_ 5 _OK_"},
		{"\xff\xfe broken", "__ broken"},
		{"   ", "_"},
		{"?", "_?"},
		{"-", "_-"},
		{"total", "_total"},
		{"x::y", "x__y"},
		{"[CRITICAL] - x", "_CRITICAL_ - x"},
		{"ünïcödé", "ünïcödé"},
		{"fifteen-letters", "fifteen-letters"},
		{"$(reboot)`reboot`", "_(reboot)_reboo"},
		{long, strings.Repeat("_b______ ", 200)[:200] + "..."}, // completed from the command line
	} {
		t.Run(fmt.Sprintf("%.20q", test.name), func(t *testing.T) {
			command := helper("server", test.name[:min(len(test.name), maxComm)], "127.0.0.1:0", "keep")
			if len(test.name) > 100 {
				command.Args[0] = test.name
			}
			_, address := startHelper(t, command)
			output, code := runBy(t, 0, plugin, "--by", "process", "--local-port", portOf(address), "-w", "0")
			want := fmt.Sprintf("[WARNING] - %s: 1 [WARNING]|%s=1;0;;0\n%[1]s held by: %[1]s (root) 1\n", test.shown, strings.ReplaceAll(test.shown, " ", "_"))
			if output != want || code != 1 {
				t.Errorf("got  %d %qwant %q", code, output, want)
			}
		})
	}
}

func TestProcessIsNamedByTheLettersThatSsShows(t *testing.T) {
	plugin := inOwnNetwork(t)
	if plugin == "" {
		return
	}
	command := helper("server", "very-long-proce", "127.0.0.1:0", "keep")
	command.Args[0] = "/opt/very-long-process"
	startHelper(t, command)
	for arguments, want := range map[string]string{
		"--process very-long-proce":                                   "[OK] - tcp LISTEN: 1",
		"--process very-long-process":                                 "[OK] - tcp LISTEN: 1",
		"--by process -c very-long-proce=0":                           "[CRITICAL] - very-long-process: 1 [CRITICAL]",
		"--by process -c very-long-process=2:":                        "[CRITICAL] - very-long-process: 1 [CRITICAL]",
		"--by process,status -w very-long-proce_listen=0":             "[WARNING] - very-long-process LISTEN: 1 [WARNING]",
		"--by process --process very-long-proce -c very-long-proce=1": "[OK] - very-long-process: 1",
	} {
		output, _ := runBy(t, 0, plugin, append(strings.Fields(arguments), "--no-perfdata", "--no-details")...)
		if output != want+"\n" {
			t.Errorf("%s: got %s", arguments, output)
		}
	}
}

// What is left of a process without its first thread shows no links under
// /proc/PID.
func TestProcessWhoseFirstThreadHasEndedIsFound(t *testing.T) {
	plugin := inOwnNetwork(t)
	if plugin == "" {
		return
	}
	process, _ := startHelper(t, helper("headless", "headless", "127.0.0.1:0", "keep"))
	e2e.WaitFor(t, time.Minute, "the first thread to end", func() bool {
		links, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", process.Pid))
		return err == nil && len(links) == 0
	})
	output, code := runBy(t, 0, plugin, "--process", "headless", "-w", "0", "--no-perfdata")
	want := "[WARNING] - tcp LISTEN: 1 [WARNING] (headless 1)\ntcp LISTEN held by: headless (root) 1\n"
	if output != want || code != 1 {
		t.Errorf("got %d %s\nwant %s", code, output, want)
	}
}

func init() { helpers["busy-host"], helpers["web"] = busyHost, webServer }

// busyHost takes the path of the program and two numbers, and is the first
// process of a host of its own: it holds so many connections, both ends, while
// another process opens and closes some all the time. It prints what the program
// says of it, again and again, with the exit code in front.
func busyHost() {
	rename("holder")
	listening, err := stdnet.Listen("tcp4", "127.0.0.1:0")
	must(err)
	go acceptAll(listening)
	number, err := strconv.Atoi(os.Args[2])
	must(err)
	for range number {
		connection, err := stdnet.Dial("tcp4", listening.Addr().String())
		must(err)
		kept = append(kept, connection)
	}
	others := helper("churn", listening.Addr().String(), "64")
	must(others.Start())
	runs, err := strconv.Atoi(os.Args[3])
	must(err)
	quiet := fmt.Sprintf("[OK] - tcp ESTABLISHED: %d\n", 2*number)
	for isQuiet, i := true, 0; i < runs || isQuiet; i++ {
		once := exec.Command(os.Args[1], "--process", "holder", "--conn-status", "established", "--no-perfdata")
		output, _ := once.CombinedOutput()
		line, _, _ := strings.Cut(string(output), "\n")
		isQuiet = isQuiet && line+"\n" == quiet
		fmt.Printf("%d %s\n", once.ProcessState.ExitCode(), line)
	}
	_ = others.Process.Kill()
	_ = others.Wait()
}

// Sockets that come while the processes are looked through are not lost to their
// process, and those that go are not taken for somebody else's.
func TestProcessIsToldFromOthersUnderChurn(t *testing.T) {
	plugin := inOwnNetwork(t)
	if plugin == "" {
		return
	}
	e2e.Need(t, "util-linux", "unshare")
	const connections = 200
	busy := helper("busy-host", plugin, strconv.Itoa(connections), strconv.Itoa(often(20, 500)))
	busy.Args = append([]string{"unshare", "--pid", "--fork", "--mount-proc", "--kill-child"}, busy.Args...)
	busy.Path, busy.Err = exec.LookPath("unshare")
	output, _ := outputOf(t, busy)
	for line := range strings.Lines(output) {
		var least, most int
		_, err := fmt.Sscanf(line, "0 [OK] - tcp ESTABLISHED: %d to %d", &least, &most)
		if err != nil {
			_, err = fmt.Sscanf(line, "0 [OK] - tcp ESTABLISHED: %d", &least)
			most = least
		}
		if err != nil || least > most || most < 2*connections {
			t.Errorf("got %s", line)
		}
	}
}

// webServer is a service with eight connections, to itself, none of which lives for
// longer than five milliseconds. It opens a new one before it closes an old one.
func webServer() {
	rename("web")
	listening, err := stdnet.Listen("tcp4", "127.0.0.1:0")
	must(err)
	go func() {
		for {
			connection, err := listening.Accept()
			must(err)
			go closeAfterPeer(connection)
		}
	}()
	connect := func() *stdnet.TCPConn {
		connection, err := stdnet.Dial("tcp4", listening.Addr().String())
		must(err)
		return connection.(*stdnet.TCPConn)
	}
	for range 8 {
		connection := connect()
		go func() {
			for {
				time.Sleep(5 * time.Millisecond)
				next := connect()
				_ = connection.SetLinger(0) // no TIME_WAIT, the ports would run out
				_ = connection.Close()
				connection = next
			}
		}()
	}
	fmt.Println("ready")
	select {}
}

func TestServiceOfShortConnectionsNeverHasNone(t *testing.T) {
	plugin := inOwnNetwork(t)
	if plugin == "" {
		return
	}
	startHelper(t, helper("web"))
	answers := map[string]int{}
	for range often(30, 500) {
		output, code := runBy(t, 0, plugin, "--process", "web", "-c", "tcp_established=1:", "--no-perfdata", "--no-details")
		isRight := code == 0 && strings.HasPrefix(output, "[OK] - tcp ESTABLISHED: ")
		isUncertain := code == 3 && strings.HasPrefix(output, "[UNKNOWN] - hidden sockets could change the result: ")
		if !isRight && !isUncertain {
			t.Fatalf("got %d %s", code, output)
		}
		answers[output[:strings.Index(output, " - ")]]++
	}
	t.Log(answers)
}

func TestUsersOfARealUserDatabase(t *testing.T) {
	plugin := inOwnNetwork(t)
	if plugin == "" {
		return
	}
	const first = 700_000
	accounts := []struct{ name, shown string }{
		{"alice", "alice"}, {"a|b=1;2 'x'", "a_b_1_2 _x_"}, {"\x1b[31mred", "__31mred"}, {"<b>&x", "_b__x"}, {"total", "_total"}, {"x::y", ""}, {"?", "_?"},
	}
	var plain stdnet.ListenConfig
	plain.SetMultipathTCP(false) // the user of such a socket does not change
	database := "root:x:0:0::/root:/bin/sh\ntoor:x:0:0::/root:/bin/sh\n"
	var want []string
	for i, account := range accounts {
		if account.shown == "" { // a colon ends a name
			continue
		}
		database += fmt.Sprintf("%s:x:%d:%d::/:/bin/false\n", account.name, first+i, first)
		for range i + 2 {
			listening, err := plain.Listen(t.Context(), "tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer listening.Close()
			file, err := listening.(*stdnet.TCPListener).File()
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			if err := file.Chown(first+i, -1); err != nil {
				t.Fatal(err)
			}
		}
		want = append([]string{fmt.Sprintf("%s: %d", account.shown, i+2)}, want...)
	}
	listening, err := plain.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listening.Close()
	passwd := filepath.Join(t.TempDir(), "passwd")
	if err := os.WriteFile(passwd, []byte(database), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ arguments, text string }{
		{"--by user --top 0", strings.Join(append(want, "root: 1"), ", ")},
		{"--user alice", "tcp LISTEN: 2"},
		{"--user 700000", "tcp LISTEN: 2"},
		{"--user root", "tcp LISTEN: 1"},
		{"--user toor", "tcp LISTEN: 1"}, // another name of the same user
		{"--user 0", "tcp LISTEN: 1"},
		{"--user toor --by user", "root: 1"},
		{"--user toor --by user -w toor=5", "root: 1"},
		{"--user root,alice --by user -w toor=0", "root: 1 [WARNING], alice: 2"},
		{"--user root,alice --by user -w 0=0,700000=1", "alice: 2 [WARNING], root: 1 [WARNING]"},
	} {
		output, _ := outputOf(t, inMounts(t, fmt.Sprintf("mount --bind %q /etc/passwd", passwd), plugin, append(strings.Fields(test.arguments), "--no-details")...))
		if text := textOf(output); text != test.text {
			t.Errorf("%s: got %q\nwant %q", test.arguments, text, test.text)
		}
	}
}
