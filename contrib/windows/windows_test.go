//go:build linux

// Package windows_test runs the program for Windows. Wine stands in for
// Windows: its GetExtendedTcpTable and GetExtendedUdpTable answer with the
// sockets of the Linux machine, so the tests know what there is to count.
package windows_test

import (
	"encoding/json"
	"maps"
	"net"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"check_network_connections/contrib/e2e"
)

const (
	wine       = "/usr/lib/wine/wine64"
	wineserver = "/usr/lib/wine/wineserver64"
	compiler   = "x86_64-w64-mingw32-gcc"

	// program is where Icinga 2's installer for Windows puts plugins.
	program = `C:\Program Files\ICINGA2\sbin\check_network_connections.exe`

	// prepared is the environment variable by which a test in its own network
	// namespace finds the folder that was prepared outside of it, where the
	// build may download modules.
	prepared = "WINDOWS_E2E_FOLDER"
)

// folder holds Wine's prefix and the home of whoever runs it.
var folder = os.Getenv(prepared)

func TestMain(m *testing.M) {
	code := m.Run()
	if folder != "" && os.Getenv(prepared) == "" {
		_ = os.RemoveAll(folder)
	}
	os.Exit(code)
}

// underWine gives the test a network namespace and a Wine of its own. Like
// e2e.OwnNetwork it returns false where the test has already run.
func underWine(t *testing.T) bool {
	t.Helper()
	e2e.NeedLong(t)
	e2e.Need(t, "wine64 gcc-mingw-w64-x86-64", wine, wineserver, compiler)
	if folder == "" {
		prepare(t)
	}
	if os.Getenv(prepared) == "" {
		t.Setenv(prepared, folder)
		return e2e.OwnNetwork(t)
	}
	t.Cleanup(func() {
		_ = wineCommand(wineserver, "--kill").Run()
		_ = wineCommand(wineserver, "--wait").Run()
	})
	return e2e.OwnNetwork(t)
}

// underWineWithAllSockets is for tests of sockets that other programs have made.
func underWineWithAllSockets(t *testing.T) bool {
	t.Helper()
	e2e.NeedLong(t)
	e2e.Need(t, "wine64", wine)
	version := strings.TrimSpace(e2e.Run(t, wine, "--version"))
	if major, _, _ := strings.Cut(strings.TrimPrefix(version, "wine-"), "."); len(major) > 1 {
		t.Skip(version + " lists the sockets of its own programs only: Wine 8, as in Debian 12, lists all")
	}
	return underWine(t)
}

// prepare creates the Wine prefix with the program in it.
func prepare(t *testing.T) {
	t.Helper()
	var err error
	if folder, err = os.MkdirTemp("", "check_network_connections-windows-"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(folder, "home"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, arguments := range [][]string{{wine, "wineboot", "--init"}, {wineserver, "--wait"}} {
		if err := wineCommand(arguments...).Run(); err != nil {
			t.Fatalf("%s: %v", strings.Join(arguments, " "), err)
		}
	}
	// Without the C library the DLL needs nothing that Wine could lack.
	for name, library := range map[string]string{"bcryptprimitives": "-ladvapi32", "iphlpapi": "-lkernel32"} {
		e2e.Run(t, compiler, "-shared", "-nostdlib", "-Wl,--entry=0", "-Wall", "-Werror", "-O",
			"-o", unixPath(`C:\windows\system32\`+name+".dll"), filepath.Join("testdata", name+".c"), library)
	}

	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", unixPath(program), ".")
	build.Dir = e2e.Root()
	build.Env = append(os.Environ(), "GOOS=windows", "GOARCH=amd64", "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building for Windows: %v\n%s", err, output)
	}
}

// unixPath returns where a path on drive C really is.
func unixPath(path string) string {
	return filepath.Join(folder, "prefix", "drive_c", strings.ReplaceAll(strings.TrimPrefix(path, `C:\`), `\`, "/"))
}

// windowsPath returns the path by which Windows programs find a file.
func windowsPath(path string) string { return "Z:" + strings.ReplaceAll(path, "/", `\`) }

// overrides says which libraries Wine loads, and ends with that of the tables.
const overrides = "WINEDLLOVERRIDES=mscoree,mshtml,winemenubuilder.exe=;iphlpapi"

// wineCommand neither needs a display nor touches what is not in the folder.
func wineCommand(arguments ...string) *exec.Cmd {
	command := exec.Command(arguments[0], arguments[1:]...)
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "DISPLAY=") && !strings.HasPrefix(variable, "XDG_") {
			command.Env = append(command.Env, variable)
		}
	}
	command.Env = append(command.Env,
		"HOME="+filepath.Join(folder, "home"),
		"WINEPREFIX="+filepath.Join(folder, "prefix"),
		"WINEARCH=win64",
		"WINEDEBUG=-all",
		// No offer to install .NET and HTML, no entries in the desktop's menu, and
		// Wine's own tables of sockets.
		overrides+"=b",
	)
	return command
}

// check runs the program and returns its exit code and all that it printed.
func check(t *testing.T, arguments ...string) (code int, output string) {
	t.Helper()
	return checkIn(t, nil, arguments...)
}

// checkIn is check with more variables in the environment. Wine ends a program now
// and then before it has begun, with exit code 1; the check always prints something.
func checkIn(t *testing.T, environment []string, arguments ...string) (code int, output string) {
	t.Helper()
	for range 3 {
		if code, output = checkOnce(t, environment, arguments...); output != "" {
			break
		}
		t.Logf("%q printed nothing, exit code %d", arguments, code)
	}
	return code, output
}

func checkOnce(t *testing.T, environment []string, arguments ...string) (code int, output string) {
	t.Helper()
	// To a file: Wine's services would keep a pipe open after the program.
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	command := wineCommand(append([]string{wine, program}, arguments...)...)
	command.Env = append(command.Env, environment...)
	command.Stdout, command.Stderr = file, file
	if err := command.Run(); err != nil && command.ProcessState == nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file.Name())
	if err != nil {
		t.Fatal(err)
	}
	return command.ProcessState.ExitCode(), string(text)
}

// counts returns the values of the performance data, by group.
func counts(t *testing.T, output string) map[e2e.Group]int {
	t.Helper()
	found := map[e2e.Group]int{}
	line, _, _ := strings.Cut(output, "\n")
	_, perfdata, _ := strings.Cut(line, "|")
	for _, item := range strings.Fields(perfdata) {
		label, rest, _ := strings.Cut(item, "=")
		value, _, _ := strings.Cut(rest, ";")
		kind, status, _ := strings.Cut(label, "_")
		number, err := strconv.Atoi(value)
		if err != nil {
			t.Fatalf("%s: %v", item, err)
		}
		found[e2e.Group{Type: kind, Status: status}] = number
	}
	return found
}

func TestEveryStatusIsCountedUnderItsCanonicalName(t *testing.T) {
	if !underWineWithAllSockets(t) {
		return
	}
	if code, output := check(t); code != 0 || output != "[OK] - No connections of type \"all\" in status \"all\" found.\n" {
		t.Fatalf("without a socket: exit code %d, %s", code, output)
	}
	made := e2e.EveryStatus(t)
	for _, test := range []struct {
		arguments []string
		counted   func(e2e.Group) bool
	}{
		{nil, func(e2e.Group) bool { return true }},
		{[]string{"--conn-type", "tcp6,udp"}, func(g e2e.Group) bool { return g.Type == "tcp6" || g.Type == "udp" }},
		{[]string{"--conn-status=fin_wait1,syn_recv"}, func(g e2e.Group) bool { return g.Status == "FIN_WAIT1" || g.Status == "SYN_RECV" }},
		{[]string{"--source=gopsutil"}, func(e2e.Group) bool { return true }},
	} {
		want := maps.Clone(made)
		maps.DeleteFunc(want, func(group e2e.Group, _ int) bool { return !test.counted(group) })
		code, output := check(t, test.arguments...)
		if got := counts(t, output); code != 0 || !maps.Equal(got, want) {
			t.Errorf("%q: exit code %d\ncounted %v\nof      %v\n%s", test.arguments, code, got, want, output)
		}
	}
	if rows := e2e.NetworkRows(t); !maps.Equal(rows, made) {
		t.Errorf("the sockets did not stay as they were: made %v, now %v", made, rows)
	}
}

func TestThresholdsAndExitCodes(t *testing.T) {
	if !underWineWithAllSockets(t) {
		return
	}
	server := listen(t, "tcp4", "127.0.0.1:0")
	listen(t, "tcp6", "[::1]:0")
	packet, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = packet.Close() })
	for range 60 {
		leak(t, server)
	}
	e2e.WaitFor(t, 5*time.Second, "60 connections in CLOSE_WAIT", func() bool {
		return e2e.NetworkRows(t)[e2e.Group{Type: "tcp", Status: "CLOSE_WAIT"}] == 60
	})

	for _, test := range []struct {
		arguments string // separated by spaces
		code      int
		line      string // the first one; not compared where the code is 3
	}{
		{"--timeout 20",
			0, "[OK] - tcp CLOSE WAIT: 60, tcp FIN WAIT2: 60, tcp LISTEN: 1, tcp6 LISTEN: 1, udp NONE: 1" +
				"|tcp_CLOSE_WAIT=60;;;0 tcp_FIN_WAIT2=60;;;0 tcp_LISTEN=1;;;0 tcp6_LISTEN=1;;;0 udp_NONE=1;;;0"},
		{"--conn-type tcp --conn-status listen --warning 1000 --critical 2000",
			0, "[OK] - tcp LISTEN: 1|tcp_LISTEN=1;1000;2000;0"},
		{"--conn-type tcp --conn-status listen --conn-status close_wait --warning 1000 --critical close_wait=50",
			2, "[CRITICAL] - tcp CLOSE WAIT: 60 [CRITICAL], tcp LISTEN: 1|tcp_CLOSE_WAIT=60;1000;50;0 tcp_LISTEN=1;1000;;0"},
		{"--conn-status close_wait --warning 59 --critical 60",
			1, "[WARNING] - tcp CLOSE WAIT: 60 [WARNING]|tcp_CLOSE_WAIT=60;59;60;0"},
		{"--conn-status close_wait --critical 50 --always-ok --no-perfdata",
			0, "[OK] - tcp CLOSE WAIT: 60 [CRITICAL] (always ok)"},
		{"--conn-type tcp6 --conn-status established --critical tcp6_established=1:",
			2, "[CRITICAL] - tcp6 ESTABLISHED: 0 [CRITICAL]|tcp6_ESTABLISHED=0;;1:;0"},
		{"--zero --conn-status delete_tcb",
			0, "[OK] - tcp DELETE TCB: 0, tcp6 DELETE TCB: 0|tcp_DELETE_TCB=0;;;0 tcp6_DELETE_TCB=0;;;0"},
		{"--conn-type udp6",
			0, `[OK] - No connections of type "udp6" in status "all" found.`},
		{"--conn-status listen --warning 20:10",
			3, ""},
		{"--conn-type tcp --conn-status listen --critical close_wait=50",
			3, ""},
		{"--no-such-flag",
			3, ""},
	} {
		t.Run(test.arguments, func(t *testing.T) {
			code, output := check(t, strings.Fields(test.arguments)...)
			line, rest, _ := strings.Cut(output, "\n")
			if code != test.code {
				t.Errorf("exit code %d, want %d", code, test.code)
			}
			if code != 3 && line != test.line {
				t.Errorf("got  %s\nwant %s", line, test.line)
			}
			if code == 3 && (!strings.HasPrefix(line, "[UNKNOWN] - ") || rest != "") {
				t.Errorf("not one line that says UNKNOWN:\n%s", output)
			}
		})
	}
}

// The command and the thresholds that the Director imports for Windows hosts,
// put together as Icinga 2 does it, must be a command line for Windows.
func TestTheDirectorsCommandLineForWindows(t *testing.T) {
	if !underWineWithAllSockets(t) {
		return
	}
	server := listen(t, "tcp4", "127.0.0.1:0")
	for range 51 {
		leak(t, server)
	}
	basket := readBasket(t)
	command := basket.Commands["check_network_connections-windows"]
	if len(command.Arguments) == 0 || command.Command != path.Base(strings.ReplaceAll(program, `\`, "/")) {
		t.Fatalf("the command is %v", command)
	}

	code, output := check(t, command.line(t, basket.Templates["check_network_connections-thresholds-without-limits"].Vars)...)
	line, _, _ := strings.Cut(output, "\n")
	want := "[WARNING] - tcp CLOSE WAIT: 51 [WARNING], tcp FIN WAIT2: 51, tcp LISTEN: 1" +
		"|tcp_CLOSE_WAIT=51;50;500;0 tcp_FIN_WAIT2=51;;;0 tcp_LISTEN=1;;;0"
	if code != 1 || line != want {
		t.Errorf("exit code %d\ngot  %s\nwant %s", code, line, want)
	}

	port := strconv.Itoa(server.Addr().(*net.TCPAddr).Port)
	all := map[string]any{
		"always_ok": true, "by": []any{"local-port", "status"}, "conn_status": []any{"close_wait", "listen"}, "conn_type": []any{"tcp", "udp6"},
		"critical": []any{port + "_CLOSE_WAIT=50", "total=1:"}, "direction": []any{"in", "out", "listen", "-"}, "local_address": []any{"127.0.0.0/8", "!::1"}, "local_port": []any{port, "8000-8100"},
		"no_details": true, "no_perfdata": false, "process": []any{"!a name with spaces.exe"}, "remote_address": []any{"127.0.0.1"}, "remote_port": []any{"1-65535", "!443"},
		"source": "gopsutil", "timeout": "20", "top": "1", "user": []any{"!NT AUTHORITY\\SYSTEM"}, "verbose": true, "warning": []any{"10", "total=50"}, "zero": false,
	}
	vars := map[string]any{}
	for name, value := range all {
		vars["network_connections_"+name] = value
	}
	for flag := range command.Arguments {
		name := "network_connections_" + strings.ReplaceAll(strings.TrimPrefix(flag, "--"), "-", "_")
		if _, known := vars[name]; !known && flag != "--test" {
			t.Errorf("no value for %s", flag)
		}
	}
	// Whose sockets these are is not known under Wine: they are of Linux processes.
	code, output = check(t, command.line(t, vars)...)
	if want := "[OK] - " + port + " CLOSE WAIT: 0 to 51"; code != 0 || !strings.HasPrefix(output, want) {
		t.Errorf("with owners: exit code %d, %s", code, output)
	}
	delete(vars, "network_connections_process")
	delete(vars, "network_connections_user")
	code, output = check(t, command.line(t, vars)...)
	line, _, _ = strings.Cut(output, "\n")
	want = "[OK] - " + port + " CLOSE WAIT: 51 [CRITICAL], total: 51 [WARNING] (always ok)|" + port + "_CLOSE_WAIT=51;10;50;0 total=51;50;1:;0"
	if code != 0 || line != want {
		t.Errorf("exit code %d\ngot  %s\nwant %s", code, line, want)
	}
}

// basket is what of the Director's basket makes a command line.
type basket struct {
	Commands  map[string]directorCommand `json:"Command"`
	Templates map[string]struct {
		Vars map[string]any `json:"vars"`
	} `json:"ServiceTemplate"`
}

type directorCommand struct {
	Command   string `json:"command"`
	Arguments map[string]struct {
		Value     string `json:"value"`
		SetIf     string `json:"set_if"`
		RepeatKey bool   `json:"repeat_key"`
	} `json:"arguments"`
}

func readBasket(t *testing.T) (b basket) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(e2e.Root(), "contrib", "director", "check_network_connections.json"))
	if err == nil {
		err = json.Unmarshal(content, &b)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// line returns the arguments for custom variables.
func (c directorCommand) line(t *testing.T, vars map[string]any) (line []string) {
	t.Helper()
	for _, flag := range slices.Sorted(maps.Keys(c.Arguments)) {
		argument := c.Arguments[flag]
		value := vars[strings.Trim(argument.Value+argument.SetIf, "$")]
		switch value := value.(type) {
		case nil:
		case bool:
			if value {
				line = append(line, flag)
			}
		case string:
			line = append(line, flag, value)
		case []any:
			if !argument.RepeatKey {
				t.Errorf("%s takes no list", flag)
			}
			for _, item := range value {
				line = append(line, flag, item.(string))
			}
		}
	}
	return line
}

func TestWhatOnlyLinuxCanServeIsRefused(t *testing.T) {
	if !underWine(t) {
		return
	}
	for _, test := range []struct{ flag, value string }{
		{"--min-idle", "5m"},
		{"--netns", "all"},
		{"--netns", "web"},
		{"--source", "netlink"},
		{"--warning", "ephemeral=80"},
		{"--critical", "ephemeral=95"},
	} {
		t.Run(test.flag+" "+test.value, func(t *testing.T) {
			code, output := check(t, test.flag, test.value)
			if code != 3 || !strings.HasPrefix(output, "[UNKNOWN] - ") || strings.Count(output, "\n") != 1 {
				t.Errorf("exit code %d, want 3 and one line:\n%s", code, output)
			}
			if !strings.Contains(output, test.flag) || !strings.Contains(output, "Linux") {
				t.Errorf("the message names not both %s and Linux: %s", test.flag, output)
			}
		})
	}
	if code, output := check(t, "--netns", "self"); code != 0 {
		t.Errorf("--netns self: exit code %d: %s", code, output)
	}
}

func TestRecordingsAreFoundByWindowsPaths(t *testing.T) {
	if !underWine(t) {
		return
	}
	recording := filepath.Join(e2e.Root(), "testdata", "linux-idle-host.json")
	const want = "[OK] - tcp LISTEN: 3, tcp6 LISTEN: 3, tcp ESTABLISHED: 2, udp NONE: 2, udp6 NONE: 1\n"
	if code, output := check(t, "--no-perfdata", "--test", windowsPath(recording)); code != 0 || output != want {
		t.Errorf("exit code %d, got %s want %s", code, output, want)
	}
	missing := windowsPath(filepath.Join(t.TempDir(), "missing.json"))
	if code, output := check(t, "--test", missing); code != 3 || !strings.Contains(output, "\""+missing+"\"") {
		t.Errorf("a missing recording: exit code %d: %s", code, output)
	}
}

func TestHelpAndVersion(t *testing.T) {
	if !underWine(t) {
		return
	}
	for _, flag := range []string{"--help", "--version"} {
		if code, output := check(t, flag); code != 3 || !strings.Contains(output, "check_network_connections") {
			t.Errorf("%s: exit code %d: %s", flag, code, output)
		}
	}
}

func listen(t *testing.T, network, address string) net.Listener {
	t.Helper()
	listener, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return listener
}

// leak makes a connection that the client has ended and the server has not:
// one in FIN_WAIT2 and one in CLOSE_WAIT.
func leak(t *testing.T, server net.Listener) {
	t.Helper()
	client, err := net.Dial("tcp4", server.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	accepted, err := server.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = accepted.Close() })
	if err := client.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
}
