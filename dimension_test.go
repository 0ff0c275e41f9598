package main

import (
	"strings"
	"testing"
)

func TestGroupingsOfARecording(t *testing.T) {
	for _, test := range []struct{ name, arguments, text, values string }{
		{
			"by status, IPv4 and IPv6 together", "--by status",
			"ESTABLISHED: 10, CLOSE WAIT: 8, TIME WAIT: 4, LISTEN: 2, NONE: 2", "ESTABLISHED=10 CLOSE_WAIT=8 TIME_WAIT=4 LISTEN=2 NONE=2",
		},
		{"by type", "--by type", "tcp: 18, tcp6: 6, udp: 2", "tcp=18 tcp6=6 udp=2"},
		{
			"in the order given", "--by status,type --conn-status listen,established",
			"ESTABLISHED tcp: 5, ESTABLISHED tcp6: 5, LISTEN tcp: 1, LISTEN tcp6: 1", "ESTABLISHED_tcp=5 ESTABLISHED_tcp6=5 LISTEN_tcp=1 LISTEN_tcp6=1",
		},
		{"by user, as far as it is recorded", "--by user", "1000: 14, 33: 6, -: 4, 101: 2", "1000=14 33=6 -=4 101=2"},
		{"by process, which is not recorded", "--by process,type --conn-type tcp6", "? tcp6: 6", "?_tcp6=6"},
		{"by namespace, which is not recorded", "--by netns", "?: 26", "?=26"},
		{"connections of each service", "--by local-port --conn-status established --top 1", "443: 2 (+8 more: 8)", "443=2"},
		{
			"connections to each peer", "--by remote-address,remote-port --top 3",
			"10.0.0.5:5432: 9, -: 3, [fd00::1]:443: 3 (+11 more: 11)", "10.0.0.5_5432=9 -_-=3 fd00-0-0-0-0-0-0-1_443=3",
		},
		{
			"an address and a port that are not neighbours", "--by remote-port,type,remote-address --remote-port 443,5432",
			"5432 tcp 10.0.0.5: 9, 443 tcp6 fd00::1: 3", "5432_tcp_10.0.0.5=9 443_tcp6_fd00-0-0-0-0-0-0-1=3",
		},
		{
			"a local address next to its port", "--by local-address,local-port --conn-status listen",
			"0.0.0.0:8080: 1, [::]:443: 1", "0.0.0.0_8080=1 0-0-0-0-0-0-0-0_443=1",
		},
		{"IPv4-mapped addresses as IPv4", "--by remote-address --remote-address 10.0.0.9", "10.0.0.9: 10", "10.0.0.9=10"},
		{
			"all groups", "--by remote-address --top 0",
			"10.0.0.9: 10, 10.0.0.5: 9, -: 3, fd00::1: 3, 10.0.0.53: 1", "10.0.0.9=10 10.0.0.5=9 -=3 fd00-0-0-0-0-0-0-1=3 10.0.0.53=1",
		},
		{"without a socket, by status", "--by status --zero --conn-status listen,closing,none", "LISTEN: 2, NONE: 2, CLOSING: 0", "CLOSING=0 LISTEN=2 NONE=2"},
	} {
		t.Run(test.name, func(t *testing.T) {
			output, code := reply(append(strings.Fields(test.arguments), "--test", "testdata/leaking-server.json")...)
			if code != 0 || textOf(output) != test.text || valuesOf(output) != test.values {
				t.Errorf("got  %d %swant %s|%s", code, output, test.text, test.values)
			}
		})
	}
	for by, want := range map[string]string{
		"local-address,local-port": "?: 59", "remote-address,remote-port": "?: 59", "remote-port": "?: 59", "unit": "?: 59", "user": "?: 58, -: 1", // of TIME_WAIT
	} {
		if output, _ := reply("--by", by, "--test", "testdata/small-server.json"); textOf(output) != want {
			t.Errorf("by %s, which is not recorded: got %s", by, output)
		}
	}
}

// groupsOf returns the judged groups of the sockets.
func groupsOf(config *options, from made) []group {
	tallied := newCounter([]*tally{config.question.tally(config.levels.by)})
	_ = from.read(tallied)
	return config.levels.judgeGroups(tallied[0])
}

// What is asked of a socket, row by row.
func TestValuesOfASocketByDimension(t *testing.T) {
	whole := socketOf("tcp6 CLOSE_WAIT helper[5]+java[9] www-data 10.0.0.1:8080 [fd00::9]:50000 unit=docker-3f2a1bc0d9e8 netns=web direction=in")
	bare, unseen := socketOf("tcp LISTEN"), socketOf("tcp LISTEN ? ? ? ? unit=? direction=?")
	for _, test := range []struct {
		*dimension
		whole, bare, unseen string
	}{
		{byType, "tcp6", "tcp", "tcp"}, {byStatus, "CLOSE_WAIT", "LISTEN", "LISTEN"}, {byProcess, "helper+java", "-", "?"}, {byUser, "www-data", "-", "?"},
		{byUnit, "docker-3f2a1bc0d9e8", "-", "?"}, {byNetns, "web", "", ""}, {byDirection, "in", "-", "?"}, {byLocalAddress, "10.0.0.1", "-", "?"},
		{byLocalPort, "8080", "0", "?"}, {byRemoteAddress, "fd00::9", "-", "?"}, {byRemotePort, "50000", "-", "?"},
	} {
		for s, want := range map[*socket]string{whole: test.whole, bare: test.bare, unseen: test.unseen} {
			if got := string(test.append(nil, s)); got != want || test.isHidden(s) != (want == hidden) {
				t.Errorf("%s: got %q, want %q", test.name, got, want)
			}
			var copied socket
			if test.assign(&copied, want); string(test.append(nil, &copied)) != want {
				t.Errorf("%s: %q is not kept", test.name, want)
			}
		}
		if findDimension(strings.ToUpper(test.name)) != test.dimension {
			t.Errorf("%s is not found", test.name)
		}
	}
}

func TestDirectionsAndUnitsAreGroups(t *testing.T) {
	from := made(socketsOf(
		"tcp LISTEN nginx[7] root 0.0.0.0:80 - unit=nginx.service", "3 tcp ESTABLISHED nginx[7] root 10.0.0.1:80 10.0.0.9:50000 unit=nginx.service",
		"2 tcp CLOSE_WAIT java[8] root 10.0.0.1:40000 10.0.0.5:5432 unit=docker-3f2a1bc0d9e8", "udp NONE dns[9] root 127.0.0.1:53 - unit=?", "4 tcp TIME_WAIT - - 10.0.0.1:80 10.0.0.9:50000",
	))
	for _, test := range []struct{ arguments, text string }{
		{"--by direction", "in: 7, out: 2, -: 1, listen: 1"},
		{"--by direction --direction in,listen", "in: 7, listen: 1"},
		{"--by direction,status --direction out -w out_close_wait=1", "out CLOSE WAIT: 2 [WARNING] (java 2)"},
		{"--by unit", "-: 4, nginx.service: 4, docker-3f2a1bc0d9e8: 2, ?: 1"},
		{"--by unit,direction --unit nginx*", "nginx.service in: 3, nginx.service listen: 1, ? -: 0 to 1"},
		{"--by unit,status -w docker-3f2a1bc0d9e8_close_wait=1", "docker-3f2a1bc0d9e8 CLOSE WAIT: 2 [WARNING], - TIME WAIT: 4, nginx.service ESTABLISHED: 3, nginx.service LISTEN: 1, ? NONE: 1"},
	} {
		if strings.Contains(test.arguments, "unit") && thisSystem != "linux" {
			continue
		}
		if output, _ := replyTo(t, from, strings.Fields(test.arguments)...); textOf(output) != test.text {
			t.Errorf("%s: got %s", test.arguments, output)
		}
	}
}

func TestUserIsReadByIDOrName(t *testing.T) {
	first, isKnown := userName(0)
	if !isKnown {
		t.Skip("no user has the id 0 on this system")
	}
	for typed, want := range map[string]string{"0": first, "00": first, first: first, "4294967296": "4294967296", "no such user": "no such user"} {
		if got := firstUserName(typed); got != want {
			t.Errorf("%q: got %q", typed, got)
		}
	}
	for _, typed := range []string{"0", first} {
		// With a filter on the same user, too, it is a group that there can be.
		if _, err := parseArguments([]string{"--by", "user", "--user", typed, "-w", "0=5," + first + "=6"}); err == nil || err.Error() != "--warning: the group "+quote(first)+" is given twice" {
			t.Errorf("%s: got %v", typed, err)
		}
		output, _ := replyTo(t, socketsOf("3 tcp LISTEN - "+first, "tcp LISTEN - nobody"), "--by", "user", "-w", typed+"=2", "--no-details")
		if want := first + ": 3 [WARNING], nobody: 1"; textOf(output) != want {
			t.Errorf("-w %s=2: got %s", typed, output)
		}
	}
}

// outsideDimensions are those whose values others choose.
var outsideDimensions = []string{"process", "user", "unit", "netns", "local-address", "remote-address"}

// outsideSockets returns a socket for each of the texts, which has that text
// wherever it can have one, as the readers make it.
func outsideSockets(texts ...string) (from made) {
	for i, text := range texts {
		s := socketOf("tcp LISTEN")
		s.process, s.user, s.unit, s.netns = givenName(text), givenName(text), givenName(text), givenName(text)
		s.Status, _ = canonicalStatus(text)
		s.Status = givenName(s.Status)
		s.Laddr.IP, s.Laddr.Port, s.Raddr.IP, s.Raddr.Port, s.Pid = usualText(text), uint32(i+1), usualText(text), uint32(i+1), int32(i+1)
		from = append(from, s)
	}
	return from
}

// mustBeHarmless fails the test unless the output is, and its performance data
// has the groups of as many sockets, or those that fit.
func mustBeHarmless(t testing.TB, output string, sockets int) []metric {
	t.Helper()
	metrics, err := harmless(output)
	if err != nil {
		t.Error(err)
	}
	sum := 0
	for _, m := range metrics {
		if m.label != totalGroup {
			sum += int(m.value)
		}
	}
	if sum != sockets && (sum > sockets || !strings.Contains(output, " more: ")) {
		t.Errorf("%d sockets in %.300q", sum, output)
	}
	return metrics
}

func TestWhateverANameHoldsItIsOneGroup(t *testing.T) {
	for _, by := range append(outsideDimensions, "status") {
		for _, text := range outsideTexts {
			output, code := replyTo(t, outsideSockets(text), "--by", by, "-w", "0", "-v")
			if metrics := mustBeHarmless(t, output, 1); len(metrics) != 1 || code != 1 {
				t.Errorf("by %s, %.50q: %d %s", by, text, code, output)
			}
		}
	}
	from := outsideSockets(outsideTexts...)
	for _, by := range append(outsideDimensions, strings.Join(outsideDimensions, ",")+",status", "local-address,local-port,remote-address,remote-port,process") {
		for _, more := range []string{"--top=0", "--always-ok", "--critical=0"} {
			output, _ := replyTo(t, from, "--by", by, "-w", "0", "-v", more)
			mustBeHarmless(t, output, len(outsideTexts))
		}
		output, _ := replyTo(t, from, "--by", by, "-w", "0", "-v", "--no-perfdata")
		if _, err := harmless(output); err != nil {
			t.Error(err)
		}
	}
}

// A name must not be taken for the total, for a limit or for what
// cannot be told, nor have a range apply that is meant for those.
func TestNamesWithAMeaningOfTheirOwnAreChanged(t *testing.T) {
	for _, by := range []string{"process", "user", "unit", "netns", "status"} {
		for _, name := range []string{"total", "Total", "ephemeral", "ephemeral_ports", "Limits", "memory", "tcp_memory", "files", "?", "-", " ?"} {
			output, code := replyTo(t, outsideSockets(name), "--by", by, "-w", "total=1", "-c", "total=2", "--no-details")
			metrics := mustBeHarmless(t, output, 1)
			if code != 0 || len(metrics) != 2 || metrics[0].warning != nil || metrics[1].warning == nil || metrics[0].label[0] != '_' {
				t.Errorf("by %s: %q gives %d %s", by, name, code, output)
			}
		}
	}
}

// FuzzNames tries any name on everything that can have one.
func FuzzNames(f *testing.F) {
	for _, text := range outsideTexts {
		if len(text) < 1<<10 {
			f.Add(text, "tcp LISTEN")
		}
	}
	f.Fuzz(func(t *testing.T, text, other string) {
		for _, by := range append(outsideDimensions, strings.Join(outsideDimensions, ",")+",status") {
			output, _ := replyTo(t, outsideSockets(text, other, text), "--by", by, "--top=0", "-w", "1", "-c", "total=5", "-v")
			if metrics := mustBeHarmless(t, output, 3); len(metrics) > 3 {
				t.Errorf("by %s: %s", by, output)
			}
		}
	})
}
