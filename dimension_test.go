package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/NETWAYS/go-check"
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
		{"by user, as far as it is recorded", "--by user", "1000: 14, 33: 6, ?: 4, 101: 2", "1000=14 33=6 ?=4 101=2"},
		{"by process, which is not recorded", "--by process,type --conn-type tcp6", "? tcp6: 6", "?_tcp6=6"},
		{"by namespace, which is not recorded", "--by netns", "?: 26", "?=26"},
		{"connections of each service", "--by local-port --conn-status established --top 1", "443: 2 (+8 more: 8)", "443=2"},
		{
			"connections to each peer", "--by remote-address,remote-port --top 3",
			"10.0.0.5:5432: 9, -: 3, [fd00::1]:443: 3 (+11 more: 11)", "10.0.0.5_5432=9 -_-=3 fd00:0:0:0:0:0:0:1_443=3",
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
			"10.0.0.9: 10, 10.0.0.5: 9, -: 3, fd00::1: 3, 10.0.0.53: 1", "10.0.0.9=10 10.0.0.5=9 -=3 fd00:0:0:0:0:0:0:1=3 10.0.0.53=1",
		},
		{"without a socket, by status", "--by status --zero --conn-status listen,closing,none", "LISTEN: 2, NONE: 2, CLOSING: 0", "LISTEN=2 NONE=2 CLOSING=0"},
	} {
		t.Run(test.name, func(t *testing.T) {
			output, code := reply(append(strings.Fields(test.arguments), "--test", "testdata/leaking-server.json")...)
			if code != 0 || textOf(output) != test.text || valuesOf(output) != test.values {
				t.Errorf("got  %d %swant %s|%s", code, output, test.text, test.values)
			}
		})
	}
	for _, by := range []string{"local-address,local-port", "remote-address,remote-port", "remote-port", "user"} {
		if output, _ := reply("--by", by, "--test", "testdata/small-server.json"); textOf(output) != "?: 59" {
			t.Errorf("by %s, which is not recorded: got %s", by, output)
		}
	}
}

// Every group is read back by each name that it is shown with, in any case.
func TestGroupsAreNamedAsTheyAreShown(t *testing.T) {
	var from made
	for i, name := range []string{"node_exporter", "my app", "closing time", "wait_for_it", "x:::y"} {
		for _, line := range []string{"tcp6 CLOSE_WAIT", "tcp6 CLOSE", "tcp LISTEN"} {
			s := socket(line + " - - [fd00::1]:80 10.0.0.5:443")
			s.Process, s.User, s.Netns = name, "www-data", "pod"
			if s.Status == "LISTEN" {
				s.Raddr.IP, s.Raddr.Port = nothing, 0
			}
			s.Laddr.Port += uint32(i)
			from = append(from, s)
		}
	}
	for _, by := range []string{
		"process", "process,status", "status,process", "type,status,process", "process,user", "user,status", "status,process,user",
		"netns,status", "status,process,netns", "local-address,local-port,process", "remote-address,remote-port", "remote-address,remote-port,process,status",
		"remote-port,status", "process,type,status", "remote-address", "local-address,status", "type,status", "status,type", "remote-port,remote-address",
	} {
		if strings.Contains(by, "netns") && thisSystem != "linux" {
			continue
		}
		for _, selected := range []string{"--top=0", "--conn-status=close_wait", "--process=node_exporter,my app", "--local-port=80,81 --remote-address=10.0.0.0/8"} {
			arguments := []string{"--by", by, selected}
			if strings.Contains(selected, " --") {
				arguments = append([]string{"--by", by}, strings.Fields(selected)...)
			}
			all := configOf(t, arguments...)
			groups := groupsOf(all, from)
			for _, g := range groups {
				for _, name := range []string{all.Levels.by.label(g.key), all.Levels.by.text(g.key)} {
					for _, typed := range []string{name, strings.ToLower(name), strings.ToUpper(name), name + mark(g.key)} {
						config, err := parseArguments(append(slices.Clone(arguments), "-w", typed+"=0"))
						if err != nil {
							t.Errorf("%s %s: %v", by, selected, err)
							continue
						}
						again := groupsOf(config, from)
						if len(again) != len(groups) {
							t.Errorf("%s %s %q: got %d groups, want %d", by, selected, typed, len(again), len(groups))
						}
						for _, other := range again {
							if is := other.key == g.key; is != (other.least == check.Warning) {
								t.Errorf("%s %s %q: %q is %s", by, selected, typed, other.key, other.least)
							}
						}
					}
				}
			}
			if len(groups) == 0 {
				t.Errorf("%s %s: no groups", by, selected)
			}
		}
	}
}

// groupsOf returns the judged groups of the sockets.
func groupsOf(config *Config, from made) []group {
	counted := newCounter([]*tally{config.Question.tally(config.Levels.by)})
	_ = from.read(counted)
	return config.Levels.judgeGroups(counted[0])
}

// A threshold finds its group however the name is spelled, and a group without
// a socket has the label that it has with one.
func TestTypedNamesAreThoseOfTheGroups(t *testing.T) {
	for _, test := range []struct{ by, line, typed, label string }{
		{"process", "tcp LISTEN kworker/0:1", "kworker/0:1", "kworker/0_1"},
		{"process", "tcp LISTEN x:::y", "X:::Y", "x___y"},
		{"remote-address", "tcp CLOSE - - - [fd00::1]:1", "FD00:0::1", "fd00:0:0:0:0:0:0:1"},
		{"remote-address", "tcp CLOSE - - - [fd00::1]:1", "[fd00:0:0:0:0:0:0:1]", "fd00:0:0:0:0:0:0:1"},
		{"remote-address", "tcp CLOSE - - - 10.0.0.5:1", "::ffff:10.0.0.5", "10.0.0.5"},
		{"remote-address,remote-port", "tcp CLOSE - - - [fd00::1]:1", "fd00:0::1_1", "fd00:0:0:0:0:0:0:1_1"},
		{"remote-address,remote-port", "tcp CLOSE - - - [fd00::1]:1", "[fd00::1]:1", "fd00:0:0:0:0:0:0:1_1"},
		{"remote-address,remote-port", "tcp LISTEN", "-", "-_-"}, // as in the text
		{"remote-address,remote-port", "tcp LISTEN", "-_-", "-_-"},
		{"status,remote-address,remote-port,process", "tcp LISTEN web", "listen_-_web", "LISTEN_-_-_web"},
		{"local-address,local-port", "tcp LISTEN - - ?", "?", "?_?"},
		{"user,remote-address", "tcp CLOSE - x - 10.0.0.5:1", "x ::ffff:10.0.0.5", "x_10.0.0.5"},
		{"status,type", "tcp6 FIN_WAIT1", "fin-wait-1_TCP6", "FIN_WAIT1_tcp6"},
		{"process,status", "tcp SYN_RECV web", "web SYN RCVD", "web_SYN_RECV"},
		{"process", "tcp LISTEN very-long-process", "very-long-proce", "very-long-process"}, // as ss -p shows it
		{"status,process", "tcp LISTEN very-long-process", "listen_VERY-long-proce", "LISTEN_very-long-process"},
	} {
		for sockets, from := range []made{nil, socketsOf(test.line)} {
			output, _ := replyTo(t, from, "--by", test.by, "-c", test.typed+"=7", "--no-details")
			metrics, err := harmless(output)
			label := test.label
			if sockets == 0 && strings.Contains(label, "very-long") {
				label = label[:len(label)-2] // there is no process to complete it from
			}
			if err != nil || len(metrics) != 1 || !strings.EqualFold(metrics[0].label, label) || metrics[0].value != float64(sockets) || metrics[0].critical == nil {
				t.Errorf("by %s, %s, %d sockets: %s %v", test.by, test.typed, sockets, output, err)
			}
		}
	}
}

// Groups that would look alike are told apart by a mark, which is the same in
// every run, and by which a threshold finds one of them.
func TestGroupsWithTheSameLabelAreToldApart(t *testing.T) {
	owned := func(owners ...string) (from made) {
		for i, owner := range owners {
			s := socket("tcp LISTEN")
			s.Process, s.User, _ = strings.Cut(owner, "/")
			from = append(from, slices.Repeat(made{s}, i+1)...)
		}
		return from
	}
	for _, test := range []struct {
		by, thresholds string
		from           made
		text, values   string
	}{
		{"process", "5", owned("a=b"), "a_b: 1", "a_b=1"},
		{"process", "5", owned("a=b", "a:b"), "a_b~08bd8540: 2, a_b~0ab0bc73: 1", "a_b~08bd8540=2 a_b~0ab0bc73=1"},
		{"process", "5", owned("a=b", "a:b", "ab"), "ab: 3, a_b~08bd8540: 2, a_b~0ab0bc73: 1", "ab=3 a_b~08bd8540=2 a_b~0ab0bc73=1"},
		{"process", "a_b=0", owned("a=b", "a:b"), "a_b~08bd8540: 2 [WARNING], a_b~0ab0bc73: 1 [WARNING]", "a_b~08bd8540=2 a_b~0ab0bc73=1"},
		{"process", "A_B~0ab0bc73=0", owned("a=b", "a:b"), "a_b~0ab0bc73: 1 [WARNING], a_b~08bd8540: 2", "a_b~0ab0bc73=1 a_b~08bd8540=2"},
		{"process", "1,a_b~08bd8540=5", owned("a=b", "a:b"), "a_b~08bd8540: 2, a_b~0ab0bc73: 1", "a_b~08bd8540=2 a_b~0ab0bc73=1"},
		{
			"process,user", "5", owned("java/web_app", "java_web/app"),
			"java_web app~c8401eb3: 2, java web_app~b5abb9cb: 1", "java_web_app~c8401eb3=2 java_web_app~b5abb9cb=1",
		},
		{
			"process,user", "java web_app~b5abb9cb=0", owned("java/web_app", "java_web/app"),
			"java web_app~b5abb9cb: 1 [WARNING], java_web app~c8401eb3: 2", "java_web_app~b5abb9cb=1 java_web_app~c8401eb3=2",
		},
	} {
		output, _ := replyTo(t, test.from, "--by", test.by, "-w", test.thresholds, "--no-details")
		if textOf(output) != test.text || valuesOf(output) != test.values {
			t.Errorf("-w %s: got  %swant %s|%s", test.thresholds, output, test.text, test.values)
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
			t.Errorf("%q: got %q, %t", typed, got, ok)
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
var outsideDimensions = []string{"process", "user", "netns", "local-address", "remote-address"}

// outsideSockets returns a socket for each of the texts, which has that text
// wherever it can have one, as the readers make it.
func outsideSockets(texts ...string) (from made) {
	for i, text := range texts {
		s := socket("tcp LISTEN")
		s.Process, s.User, s.Netns = givenName(text), givenName(text), givenName(text)
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

// A name must not be taken for the total, for the ephemeral ports or for what
// cannot be told, nor have a range apply that is meant for those.
func TestNamesWithAMeaningOfTheirOwnAreChanged(t *testing.T) {
	for _, by := range []string{"process", "user", "netns", "status"} {
		for _, name := range []string{"total", "Total", "ephemeral", "ephemeral_ports", "?", "-", " ?"} {
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
