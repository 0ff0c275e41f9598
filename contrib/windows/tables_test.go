//go:build linux

package windows_test

import (
	"strings"
	"testing"
	"time"

	"check_network_connections/contrib/e2e"
)

// tables stand in for Windows' own: see testdata/iphlpapi.c.
type tables struct{ tcp, tcp6, udp, udp6, owner string }

func (s tables) environment() []string {
	all := []string{overrides + "=n", "IPHLPAPI_PID=" + s.owner}
	for name, answers := range map[string]string{"TCP": s.tcp, "TCP6": s.tcp6, "UDP": s.udp, "UDP6": s.udp6} {
		if answers == "" {
			answers = "rows 0"
		}
		all = append(all, "IPHLPAPI_"+name+"="+answers)
	}
	return all
}

// What calls of the tables return, besides rows: see winerror.h and ntstatus.h.
const (
	accessDenied       = "5"
	notSupported       = "32"
	insufficientBuffer = "7a"
	unsuccessful       = "c0000001"
)

// withTables is underWine, with a program that runs all the time: Wine's own ones,
// which need more of the library than tables, would start anew with each other.
func withTables(t *testing.T) bool {
	t.Helper()
	if !underWine(t) {
		return false
	}
	waiting := wineCommand(wine, "cmd")
	input, err := waiting.StdinPipe() // it waits for what is typed there
	if err != nil {
		t.Fatal(err)
	}
	e2e.Start(t, waiting)
	t.Cleanup(func() { _ = input.Close() })
	check(t, "--version")
	return true
}

func TestATableThatCannotBeReadIsUnknown(t *testing.T) {
	if !withTables(t) {
		return
	}
	const denied = "error 5: Access denied."
	for _, test := range []struct {
		name   string
		tables tables
		want   string // a part of the message
	}{
		{"tcp is denied", tables{tcp: accessDenied}, "the tcp sockets cannot be read: Windows' tables: GetExtendedTcpTable: " + denied},
		{"tcp6 is denied", tables{tcp6: accessDenied}, "the tcp6 sockets cannot be read: Windows' tables: GetExtendedTcpTable: " + denied},
		{"udp is denied", tables{udp: accessDenied}, "the udp sockets cannot be read: Windows' tables: GetExtendedUdpTable: " + denied},
		{"udp6 is denied", tables{udp6: accessDenied}, "the udp6 sockets cannot be read: Windows' tables: GetExtendedUdpTable: " + denied},
		{"all are denied", tables{tcp: accessDenied, tcp6: accessDenied, udp: accessDenied, udp6: accessDenied}, denied},
		{"denied when it has grown", tables{tcp: "rows 200000," + accessDenied}, denied},
		{"IPv4 is not supported", tables{tcp: notSupported}, "the tcp sockets cannot be read: Windows' tables: GetExtendedTcpTable: error 50: "},
		{"it never fits", tables{udp: insufficientBuffer}, "GetExtendedUdpTable was asked 20 times: Insufficient buffer."},
		{"it fails at random, always", tables{udp6: unsuccessful}, "GetExtendedUdpTable was asked 20 times: "},
	} {
		t.Run(test.name, func(t *testing.T) {
			code, output := checkIn(t, test.tables.environment())
			if code != 3 || !strings.HasPrefix(output, "[UNKNOWN] - ") || !strings.Contains(output, test.want) || strings.Count(output, "\n") != 1 {
				t.Errorf("exit code %d, want 3 and one line with %q:\n%s", code, test.want, output)
			}
		})
	}
	// What nobody asks for may fail.
	if code, output := checkIn(t, tables{tcp: accessDenied, udp: "rows 2"}.environment(), "--conn-type", "udp"); code != 0 || output != "[OK] - udp NONE: 2|udp_NONE=2;;;0\n" {
		t.Errorf("exit code %d: %s", code, output)
	}
}

func TestATableIsAskedForAgain(t *testing.T) {
	if !withTables(t) {
		return
	}
	const want = "[OK] - tcp LISTEN: 9000, tcp6 LISTEN: 3, udp NONE: 2|tcp_LISTEN=9000;;;0 tcp6_LISTEN=3;;;0 udp_NONE=2;;;0\n"
	for name, test := range map[string]tables{
		"at once":            {tcp: "rows 9000", tcp6: "rows 3", udp: "rows 2"},
		"grown twice":        {tcp: "rows 200000,rows 400000,rows 9000", tcp6: "rows 3", udp: "rows 2"},
		"grown, no size":     {tcp: insufficientBuffer + "," + insufficientBuffer + ",rows 9000", tcp6: "rows 3", udp: "rows 2"},
		"failed at random":   {tcp: "rows 9000," + unsuccessful + ",rows 9000", tcp6: strings.Repeat(unsuccessful+",", 6) + "rows 3", udp: unsuccessful + ",rows 2"},
		"UDP6 is off":        {tcp: "rows 9000", tcp6: "rows 3", udp: "rows 2", udp6: notSupported},
		"UDP6 is off by and": {tcp: "rows 9000", tcp6: "rows 3", udp: "rows 2", udp6: unsuccessful + "," + notSupported},
	} {
		if code, output := checkIn(t, test.environment()); code != 0 || output != want {
			t.Errorf("%s: exit code %d\ngot  %s\nwant %s", name, code, output, want)
		}
	}
	off := tables{tcp: "rows 1", tcp6: notSupported, udp6: notSupported}
	if code, output := checkIn(t, off.environment()); code != 0 || output != "[OK] - tcp LISTEN: 1|tcp_LISTEN=1;;;0\n" {
		t.Errorf("IPv6 is off: exit code %d: %s", code, output)
	}
}

func TestProcessesAndUsersAreFoundByWhatTheyAreCalled(t *testing.T) {
	if !withTables(t) {
		return
	}
	own := tables{tcp: "rows 3", udp6: "rows 2", owner: "self"}.environment()
	code, output := checkIn(t, own, "--by", "process")
	if code != 0 || output != "[OK] - check_network_connections.exe: 5|check_network_connections.exe=5;;;0\n" {
		t.Fatalf("exit code %d: %s", code, output)
	}
	code, output = checkIn(t, own, "--by", "user", "--no-perfdata")
	user := strings.TrimSuffix(strings.TrimPrefix(output, "[OK] - "), ": 5\n")
	if code != 0 || user == output || strings.Contains(user, "?") {
		t.Fatalf("exit code %d: %s", code, output)
	}
	account := strings.Replace(user, "_", `\`, 1) // as Windows writes it
	name := user[strings.Index(user, "_")+1:]
	for _, test := range []struct {
		arguments []string
		sockets   string
	}{
		{[]string{"--process", "check_network_connections.exe"}, "5"},
		{[]string{"--process", "check_network_connections"}, "5"},
		{[]string{"--process", "Check_Network_Connections.EXE"}, "5"},
		{[]string{"--process", "CHECK_*"}, "5"},
		{[]string{"--process", "check_network_c"}, "0"}, // 15 letters are no name here
		{[]string{"--process", "!Check_network_connections"}, "0"},
		{[]string{"--user", user}, "5"},
		{[]string{"--user", "*" + strings.ToUpper(name)}, "5"}, // Wine looks names up in one case only
		{[]string{"--user", account}, "5"},
		{[]string{"--user", name}, "5"},
		{[]string{"--user", "*" + name}, "5"},
		{[]string{"--user", "!" + account}, "0"},
		{[]string{"--user", `NT AUTHORITY\SYSTEM`}, "0"},
		{[]string{"--user", "NT AUTHORITY_SYSTEM"}, "0"},
		{[]string{"--user", "S-1-5-18"}, "0"},
	} {
		arguments := append(test.arguments, "--warning", "total=1000", "--no-perfdata")
		code, output := checkIn(t, own, arguments...)
		line, _, _ := strings.Cut(output, "\n")
		if code != 0 || !strings.HasSuffix(line, "total: "+test.sockets) {
			t.Errorf("%q: exit code %d: %s", test.arguments, code, output)
		}
	}
	for _, threshold := range []string{"check_network_connections=4", "Check_Network_Connections.EXE=4"} {
		code, output := checkIn(t, own, "--by", "process", "--critical", threshold, "--no-details")
		if code != 2 || output != "[CRITICAL] - check_network_connections.exe: 5 [CRITICAL]|check_network_connections.exe=5;;4;0\n" {
			t.Errorf("%s: exit code %d: %s", threshold, code, output)
		}
	}
	code, output = checkIn(t, own, "--by", "user", "--critical", account+"=4", "--no-details", "--no-perfdata")
	if code != 2 || output != "[CRITICAL] - "+user+": 5 [CRITICAL]\n" {
		t.Errorf("%s: exit code %d: %s", account, code, output)
	}
	for _, unknown := range []string{"nobody-of-that-name", `DOMAIN\nobody`, "1000"} {
		code, output := checkIn(t, own, "--user", unknown)
		if code != 3 || !strings.Contains(output, `unknown user "`+unknown+`"`) {
			t.Errorf("%s: exit code %d: %s", unknown, code, output)
		}
	}
}

func TestSocketsWithoutAProcess(t *testing.T) {
	if !withTables(t) {
		return
	}
	for owner, want := range map[string]string{
		"":       "[OK] - ? ?: 2\nWindows does not tell the processes of 2 sockets (?)\n", // the idle process stands for none, and these listen
		"999999": "[OK] - - -: 2\n",                                                       // it has ended
	} {
		code, output := checkIn(t, tables{tcp: "rows 2", owner: owner}.environment(), "--by", "process,user", "--no-perfdata")
		if code != 0 || !strings.HasPrefix(output, want) {
			t.Errorf("owner %q: exit code %d: %s", owner, code, output)
		}
	}
}

// Wine takes seconds to list so many sockets. Each process is asked for its name
// once, and each user.
func TestOwnersOfManySocketsTakeLittleTime(t *testing.T) {
	if !underWineWithAllSockets(t) {
		return
	}
	server := listen(t, "tcp4", "127.0.0.1:0")
	for range 4000 {
		leak(t, server)
	}
	timed := func(arguments ...string) time.Duration {
		started := time.Now()
		if code, output := check(t, arguments...); code != 0 || !strings.Contains(output, ": 400") {
			t.Fatalf("%q: exit code %d: %s", arguments, code, output)
		}
		return time.Since(started)
	}
	plain, owners := timed(), timed("--by", "process,local-port")
	t.Logf("8,001 sockets: %s, by process and port %s", plain, owners)
	if owners > 3*plain {
		t.Errorf("by process and port it takes %s, without %s", owners, plain)
	}
}

func TestGopsutilSaysWhatItLeavesOut(t *testing.T) {
	if !underWine(t) {
		return
	}
	const line = "\ngopsutil is for comparing: it takes a table that Windows does not give for an empty one\n"
	if code, output := check(t, "--source", "gopsutil"); code != 0 || !strings.HasSuffix(output, line) {
		t.Errorf("exit code %d: %s", code, output)
	}
}
