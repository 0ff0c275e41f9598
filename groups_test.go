package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// firstLineOf returns the text of the first line, without state and performance
// data, and the labels and values of the performance data.
func firstLineOf(output string) (text, perfdata string) {
	line, _, _ := strings.Cut(output, "\n")
	text, rest, _ := strings.Cut(line, "|")
	_, text, _ = strings.Cut(text, "] - ")
	var values []string
	for item := range strings.FieldsSeq(rest) {
		value, _, _ := strings.Cut(item, ";")
		values = append(values, value)
	}
	return text, strings.Join(values, " ")
}

func TestGroupingAndFiltersOfARecording(t *testing.T) {
	tests := []struct {
		name      string
		arguments string
		text      string
		perfdata  string
	}{
		{
			"by status, IPv4 and IPv6 together", "--by status",
			"ESTABLISHED: 10, CLOSE WAIT: 8, TIME WAIT: 4, LISTEN: 2, NONE: 2",
			"ESTABLISHED=10 CLOSE_WAIT=8 TIME_WAIT=4 LISTEN=2 NONE=2",
		},
		{"by type", "--by type", "tcp: 18, tcp6: 6, udp: 2", "tcp=18 tcp6=6 udp=2"},
		{
			"in the order given", "--by status,type --conn-status listen,established",
			"ESTABLISHED tcp: 5, ESTABLISHED tcp6: 5, LISTEN tcp: 1, LISTEN tcp6: 1",
			"ESTABLISHED_tcp=5 ESTABLISHED_tcp6=5 LISTEN_tcp=1 LISTEN_tcp6=1",
		},
		{"by user, as far as it is recorded", "--by user", "1000: 14, 33: 6, ?: 4, 101: 2", "1000=14 33=6 ?=4 101=2"},
		{"by process, which is not recorded", "--by process,type --conn-type tcp6", "? tcp6: 6", "?_tcp6=6"},
		{"by namespace, which is not recorded", "--by netns", "?: 26", "?=26"},
		{
			"connections of each service", "--by local-port --conn-status established --top 1",
			"443: 2 (+8 more: 8)", "443=2",
		},
		{
			"connections to each peer", "--by remote-address,remote-port --top 3",
			"10.0.0.5:5432: 9, -: 3, [fd00::1]:443: 3 (+11 more: 11)",
			"10.0.0.5_5432=9 -_-=3 fd00:0:0:0:0:0:0:1_443=3",
		},
		{
			"an address and a port that are not neighbours", "--by remote-port,type,remote-address --remote-port 443,5432",
			"5432 tcp 10.0.0.5: 9, 443 tcp6 fd00::1: 3", "5432_tcp_10.0.0.5=9 443_tcp6_fd00:0:0:0:0:0:0:1=3",
		},
		{
			"a local address next to its port", "--by local-address,local-port --conn-status listen",
			"0.0.0.0:8080: 1, [::]:443: 1", "0.0.0.0_8080=1 0:0:0:0:0:0:0:0_443=1",
		},
		{"IPv4-mapped addresses as IPv4", "--by remote-address --remote-address 10.0.0.9", "10.0.0.9: 10", "10.0.0.9=10"},
		{
			"all groups", "--by remote-address --top 0",
			"10.0.0.9: 10, 10.0.0.5: 9, -: 3, fd00::1: 3, 10.0.0.53: 1",
			"10.0.0.9=10 10.0.0.5=9 -=3 fd00:0:0:0:0:0:0:1=3 10.0.0.53=1",
		},
		{
			"violations before larger groups", "--by remote-address --top 2 -w @1:3 -c 10.0.0.53=0",
			"10.0.0.53: 1 [CRITICAL], -: 3 [WARNING] (+3 more: 22)", "10.0.0.53=1 -=3",
		},
		{
			"groups that a threshold names behind the largest", "--by local-port --conn-status established --top 1 -w 53=5,40001=10",
			"443: 2, 40001: 1, 53: 0 (+7 more: 7)", "443=2 40001=1 53=0",
		},
		{
			"the total behind what is left out", "--by local-port --top 1 -w total=1",
			"8080: 9 (+15 more: 17), total: 26 [WARNING]", "8080=9 total=26",
		},
		{
			"a range for a group in full, in any case", "--by user,status --user 1000 -w 1000_Close_Wait=5,1000_listen=2:",
			"1000 CLOSE WAIT: 8 [WARNING], 1000 LISTEN: 1 [WARNING], 1000 ESTABLISHED: 5",
			"1000_CLOSE_WAIT=8 1000_LISTEN=1 1000_ESTABLISHED=5",
		},
		{
			"a range for a group as the text names it", "--by remote-address,remote-port --remote-port 443 -w [fd00::1]:443=2",
			"[fd00::1]:443: 3 [WARNING]", "fd00:0:0:0:0:0:0:1_443=3",
		},
		{
			"a range for an IPv6 address in its short form", "--by remote-address --remote-port 443 -w fd00::1=2",
			"fd00::1: 3 [WARNING]", "fd00:0:0:0:0:0:0:1=3",
		},
		{
			"a range for an address in brackets", "--by remote-address --remote-port 443 -w [fd00::1]=2",
			"fd00::1: 3 [WARNING]", "fd00:0:0:0:0:0:0:1=3",
		},
		{
			"groups without a socket by their usual names", "--by remote-address,status --remote-port 443 -w [FD00::2]_close-wait=2,fd00::1_Established=5",
			"fd00::1 ESTABLISHED: 3, fd00::2 CLOSE WAIT: 0", "fd00:0:0:0:0:0:0:1_ESTABLISHED=3 fd00:0:0:0:0:0:0:2_CLOSE_WAIT=0",
		},
		{
			"a range for a part of a plain group", "--by status,type --conn-status listen,established -w tcp6=4,listen_tcp=2:",
			"ESTABLISHED tcp: 5, ESTABLISHED tcp6: 5 [WARNING], LISTEN tcp: 1 [WARNING], LISTEN tcp6: 1",
			"ESTABLISHED_tcp=5 ESTABLISHED_tcp6=5 LISTEN_tcp=1 LISTEN_tcp6=1",
		},
		{
			"groups without a socket by status", "--by status --zero --conn-status listen,closing,none",
			"LISTEN: 2, NONE: 2, CLOSING: 0", "LISTEN=2 NONE=2 CLOSING=0",
		},
		{"a group named in full by status", "--by status --conn-type udp -w none=5:,total=1:", "NONE: 2 [WARNING], total: 2", "NONE=2 total=2"},

		{"a local port", "--local-port 8080", "tcp CLOSE WAIT: 8, tcp LISTEN: 1", "tcp_CLOSE_WAIT=8 tcp_LISTEN=1"},
		{"local ports and ranges", "--local-port 53,443,40000-40003", "tcp ESTABLISHED: 4, tcp6 ESTABLISHED: 2, tcp6 LISTEN: 1, udp NONE: 1", "tcp_ESTABLISHED=4 tcp6_ESTABLISHED=2 tcp6_LISTEN=1 udp_NONE=1"},
		{"a local port excluded", "--local-port !8080 --conn-type tcp", "tcp ESTABLISHED: 5, tcp TIME WAIT: 4", "tcp_ESTABLISHED=5 tcp_TIME_WAIT=4"},
		{"a range with a hole", "--local-port 40000-40004 --local-port !40001-40003", "tcp ESTABLISHED: 2", "tcp_ESTABLISHED=2"},
		{"a remote port", "--remote-port 5432", "tcp ESTABLISHED: 5, tcp TIME WAIT: 4", "tcp_ESTABLISHED=5 tcp_TIME_WAIT=4"},
		{"a remote port excluded, and with it what has no peer", "--remote-port !5432 --conn-type tcp", "tcp CLOSE WAIT: 8", "tcp_CLOSE_WAIT=8"},
		{"a network of peers", "--remote-address 10.0.0.0/29", "tcp ESTABLISHED: 5, tcp TIME WAIT: 4", "tcp_ESTABLISHED=5 tcp_TIME_WAIT=4"},
		{"an address of a peer excluded", "--remote-address !10.0.0.0/8", "tcp6 ESTABLISHED: 3", "tcp6_ESTABLISHED=3"},
		{"an IPv4-mapped network", "--remote-address ::ffff:10.0.0.9/128 --conn-type tcp6", "tcp6 ESTABLISHED: 2", "tcp6_ESTABLISHED=2"},
		{"a local address", "--local-address fd00::2,::", "tcp6 ESTABLISHED: 3, tcp6 LISTEN: 1", "tcp6_ESTABLISHED=3 tcp6_LISTEN=1"},
		{"a user by id", "--user 1000 --conn-status listen", "tcp LISTEN: 1", "tcp_LISTEN=1"},
		{"a user excluded", "--user !1000 --conn-status listen", "tcp6 LISTEN: 1", "tcp6_LISTEN=1"},
		{"all filters together", "--local-port 40000-50000 --remote-port 5432 --remote-address 10.0.0.5 --user 1000 --conn-type tcp", "tcp ESTABLISHED: 5", "tcp_ESTABLISHED=5"},
		{"nothing left", "--local-port 1", `No connections of type "all" in status "all" found.`, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			output, code := run(t, append(strings.Fields(test.arguments), "--test", "testdata/leaking-server.json")...)
			text, perfdata := firstLineOf(output)
			if code == 3 || text != test.text || perfdata != test.perfdata {
				t.Errorf("got  %d %s\nwant %s|%s", code, output, test.text, test.perfdata)
			}
		})
	}
}

// A filter on what a recording does not carry must not look as if nothing were
// there.
func TestFiltersOnWhatIsNotRecordedAreRefused(t *testing.T) {
	const noAddresses = "filters on ports and addresses cannot be applied: the recording does not carry those of every socket"
	for _, test := range []struct{ recording, arguments, message string }{
		{"small-server", "--local-port 443", noAddresses},
		{"small-server", "--local-port !443", noAddresses},
		{"small-server", "--local-address 10.0.0.0/8", noAddresses},
		{"small-server", "--remote-port 443", noAddresses},
		{"small-server", "--remote-address !10.0.0.0/8", noAddresses},
		{"small-server", "--user 1000", "--user cannot be applied: the users of 59 sockets are not known from this source"},
		{"leaking-server", "--user root", `--user: a recording has the ids of users, not the name "root": use an id`},
		{"leaking-server", "--process java", "--process cannot be applied: the recording does not name the processes of 26 sockets (?)"},
		{"leaking-server", "--process !java", "--process cannot be applied: the recording does not name the processes of 26 sockets (?)"},
		{"leaking-server", "--by process -w java=5", `the sockets of "java" cannot be counted: the recording does not name the processes of 26 sockets (?)`},
	} {
		t.Run(test.recording+" "+test.arguments, func(t *testing.T) {
			output, code := run(t, append(strings.Fields(test.arguments), "--test", "testdata/"+test.recording+".json")...)
			if want := "[UNKNOWN] - " + test.message + "\n"; code != 3 || output != want {
				t.Errorf("got  %d %s\nwant %s", code, output, want)
			}
		})
	}
}

func TestCulpritsOfTheWorstGroups(t *testing.T) {
	tests := []struct {
		name      string
		arguments string
		lines     []string
	}{
		{"nothing in violation", "-w 100", nil},
		{
			"peers that came to us without their ports", "-w close_wait=5",
			[]string{"tcp CLOSE WAIT held by: ?[4711] (1000) 8", "tcp CLOSE WAIT peers: 10.0.0.9:* 8"},
		},
		{
			"critical groups first, then the larger ones", "-w tcp=1 -c tcp6=1",
			[]string{
				"tcp6 ESTABLISHED held by: ?[812] (33) 5", "tcp6 ESTABLISHED peers: [fd00::1]:443 3, 10.0.0.9:* 2",
				"tcp CLOSE WAIT held by: ?[4711] (1000) 8", "tcp CLOSE WAIT peers: 10.0.0.9:* 8",
				"tcp ESTABLISHED held by: ?[4711] (1000) 5", "tcp ESTABLISHED peers: 10.0.0.5:5432 5",
			},
		},
		{"no peers", "-c tcp_listen=0", []string{"tcp LISTEN held by: ?[4711] (1000) 1"}},
		{"nobody known", "-c time_wait=0", []string{"tcp TIME WAIT peers: 10.0.0.5:5432 4"}},
		{"no sockets", "-c tcp_closing=1:", nil},
		{
			"the total", "-c total=0",
			[]string{
				"total held by: ?[4711] (1000) 14, ?[812] (33) 6, ?[77] (101) 2",
				"total peers: 10.0.0.9:* 10, 10.0.0.5:5432 9, [fd00::1]:443 3, 10.0.0.53:53 1",
			},
		},
		{
			"within the filters", "-c tcp6_established=0 --remote-port 443",
			[]string{"tcp6 ESTABLISHED held by: ?[812] (33) 3", "tcp6 ESTABLISHED peers: [fd00::1]:443 3"},
		},
		{"not wanted", "-w close_wait=5 --no-details", nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			output, _ := run(t, append(strings.Fields(test.arguments), "--test", "testdata/leaking-server.json")...)
			lines := strings.Split(strings.TrimSuffix(output, "\n"), "\n")[1:]
			if strings.Join(lines, "\n") != strings.Join(test.lines, "\n") {
				t.Errorf("got:\n%s\nwant:\n%s", strings.Join(lines, "\n"), strings.Join(test.lines, "\n"))
			}
		})
	}
}

func TestFiveCulpritsAtMost(t *testing.T) {
	var rows []string
	for process := range 7 {
		for socket := range process + 1 {
			rows = append(rows, fmt.Sprintf(`{"family": 2, "type": 1, "localaddr": {"ip": "10.0.0.1", "port": %d}, "remoteaddr": {"ip": "10.0.1.%d", "port": 80}, "status": "ESTABLISHED", "pid": %d}`,
				40000+100*process+socket, process, 100+process))
		}
	}
	output, _ := run(t, "-w", "0", "--test", recordingOf(t, "["+strings.Join(rows, ",")+"]"))
	want := "tcp ESTABLISHED held by: ?[106] 7, ?[105] 6, ?[104] 5, ?[103] 4, ?[102] 3\n" +
		"tcp ESTABLISHED peers: 10.0.1.6:80 7, 10.0.1.5:80 6, 10.0.1.4:80 5, 10.0.1.3:80 4, 10.0.1.2:80 3\n"
	if _, lines, _ := strings.Cut(output, "\n"); lines != want {
		t.Errorf("got  %swant %s", lines, want)
	}
}

// recordingOf writes a recording and returns its path.
func recordingOf(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "recording.json")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTheOutputFitsIntoOneNRPEPacket(t *testing.T) {
	var rows []string
	for port := range 20000 {
		rows = append(rows, fmt.Sprintf(`{"family": 2, "type": 1, "localaddr": {"ip": "10.0.0.1", "port": %d}, "status": "LISTEN"}`, port+1))
	}
	recording := recordingOf(t, "["+strings.Join(rows, ",")+"]")
	for _, arguments := range []string{"--top 0", "--top 0 -w 0", "--top 0 --no-perfdata", "--top 0 --always-ok -c 0 -w total=5"} {
		output, _ := run(t, append(strings.Fields(arguments), "--by", "local-port", "--test", recording)...)
		text, perfdata := firstLineOf(output)
		groups, _, _ := strings.Cut(text, " (+")
		shown := strings.Count(groups, ": 1")
		if !strings.Contains(text, fmt.Sprintf(" (+%d more: %d)", 20000-shown, 20000-shown)) {
			t.Errorf("%s: %d groups are shown, and not how many are left: ...%s", arguments, shown, text[len(text)-60:])
		}
		if len(output) > maxOutput || len(output) < maxOutput-200 {
			t.Errorf("%s: %d bytes", arguments, len(output))
		}
		if values := strings.Count(perfdata, "=1"); perfdata != "" && values != shown {
			t.Errorf("%s: %d groups are shown, %d emitted", arguments, shown, values)
		}
	}
}

func TestWhatARecordingDoesNotCarryIsUnseen(t *testing.T) {
	for by, want := range map[string]string{
		"local-address,local-port":   "?: 59",
		"remote-address,remote-port": "?: 59",
		"remote-port":                "?: 59",
		"user":                       "?: 59",
	} {
		output, _ := run(t, "--by", by, "--test", "testdata/small-server.json")
		if text, _ := firstLineOf(output); text != want {
			t.Errorf("%s: got %s", by, output)
		}
	}
}

func TestNamedGroupsArePrintedWhereNotAllFit(t *testing.T) {
	config, err := parseArguments([]string{"--by", "local-port", "--top", "0", "-w", "65000=5"})
	if err != nil {
		t.Fatal(err)
	}
	var groups []Group
	for port := range 65535 {
		group := config.By.named([]string{strconv.Itoa(port + 1)})
		group.Count = 1
		groups = append(groups, group)
	}
	_, output := report(judge(groups, nil, config), nil, config)
	if _, err := harmless(output); err != nil || len(output) > maxOutput || !strings.Contains(output, "65000: 1,") || !strings.Contains(output, "|65000=1;5;;0 ") {
		t.Errorf("%d bytes, %v: %.300s", len(output), err, output)
	}
}
