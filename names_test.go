package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/NETWAYS/go-check"
)

// A program may be called like a status or a type in any spelling.
func TestProgramsCalledLikeAStatusAreReadBack(t *testing.T) {
	for _, name := range []string{"tcp4", "udp4", "closewait", "LastAck", "synsent", "finwait1", "SynReceived", "time-wait", "total"} {
		s := socketOf("tcp LISTEN")
		s.process = name
		output, code := replyTo(t, made{s}, "--by", "process", "--no-details", "-c", strings.ToLower(cleanName(name))+"=0")
		if code != 2 || textOf(output) != cleanName(name)+": 1 [CRITICAL]" {
			t.Errorf("%s: got %d %s", name, code, output)
		}
	}
}

// Every group is read back by each name that it is shown with, in any case.
func TestGroupsAreNamedAsTheyAreShown(t *testing.T) {
	var from made
	for i, name := range []string{"node_exporter", "my app", "closing time", "wait_for_it", "x:::y"} {
		for _, line := range []string{"tcp6 CLOSE_WAIT", "tcp6 CLOSE", "tcp LISTEN"} {
			s := socketOf(line + " - - [fd00::1]:80 10.0.0.5:443")
			s.process, s.user, s.unit, s.netns = name, "www-data", name+".service", "pod"
			if s.Status == "LISTEN" {
				s.Raddr.IP, s.Raddr.Port = nothing, 0
			}
			s.Laddr.Port += uint32(i)
			from = append(from, s)
		}
	}
	for _, by := range []string{
		"process", "process,status", "status,process", "type,status,process", "process,user", "user,status", "status,process,user",
		"netns,status", "status,process,netns", "unit", "unit,status", "process,unit", "direction,type", "unit,direction,remote-address,remote-port", "local-address,local-port,process", "remote-address,remote-port", "remote-address,remote-port,process,status",
		"remote-port,status", "process,type,status", "remote-address", "local-address,status", "type,status", "status,type", "remote-port,remote-address",
	} {
		if (strings.Contains(by, "netns") || strings.Contains(by, "unit")) && thisSystem != "linux" {
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
				for _, name := range []string{all.levels.by.label(g.key), all.levels.by.text(g.key)} {
					for _, typed := range []string{name, strings.ToLower(name), strings.ToUpper(name), name + mark(g.key)} {
						if all.levels.by.freeNames() == 0 && strings.Contains(typed, "~") {
							continue // these need no marks
						}
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

// A threshold finds its group however the name is spelled, and a group without
// a socket has the label that it has with one.
func TestTypedNamesAreThoseOfTheGroups(t *testing.T) {
	for _, test := range []struct{ by, line, typed, label string }{
		{"process", "tcp LISTEN kworker/0:1", "kworker/0:1", "kworker/0_1"},
		{"process", "tcp LISTEN x:::y", "X:::Y", "x___y"},
		{"remote-address", "tcp CLOSE - - - [fd00::1]:1", "FD00:0::1", "fd00-0-0-0-0-0-0-1"},
		{"remote-address", "tcp CLOSE - - - [fd00::1]:1", "[fd00:0:0:0:0:0:0:1]", "fd00-0-0-0-0-0-0-1"},
		{"remote-address", "tcp CLOSE - - - 10.0.0.5:1", "::ffff:10.0.0.5", "10.0.0.5"},
		{"remote-address,remote-port", "tcp CLOSE - - - [fd00::1]:1", "fd00:0::1_1", "fd00-0-0-0-0-0-0-1_1"},
		{"remote-address,remote-port", "tcp CLOSE - - - [fd00::1]:1", "[fd00::1]:1", "fd00-0-0-0-0-0-0-1_1"},
		{"remote-address,remote-port", "tcp LISTEN", "-", "-_-"}, // as in the text
		{"remote-address,remote-port", "tcp LISTEN", "-_-", "-_-"},
		{"status,remote-address,remote-port,process", "tcp LISTEN web", "listen_-_web", "LISTEN_-_-_web"},
		{"local-address,local-port", "tcp LISTEN - - ?", "?", "?_?"},
		{"remote-address", "tcp CLOSE - - - [fd00::1]:1", "fd00-0-0-0-0-0-0-1", "fd00-0-0-0-0-0-0-1"}, // as in performance data
		{"remote-address,remote-port", "tcp CLOSE - - - [fd00::1]:1", "FD00-0-0-0-0-0-0-1_1", "fd00-0-0-0-0-0-0-1_1"},
		{"remote-address,process", "tcp CLOSE web - - [fd00::1]:1", "fd00-0-0-0-0-0-0-1_web", "fd00-0-0-0-0-0-0-1_web"},
		{"local-address,local-port", "tcp LISTEN - - [*]:80", "*:80", "*_80"}, // of lsof
		{"local-address,local-port,process", "tcp LISTEN web - ?", "? web", "?_?_web"},
		{"remote-address,remote-port,local-address,local-port", "tcp LISTEN web - 0.0.0.0:80", "- 0.0.0.0:80", "-_-_0.0.0.0_80"},
		{"direction,status", "tcp LISTEN web - 0.0.0.0:80", "LISTEN_listen", "listen_LISTEN"},
		{"direction", "udp NONE web - 0.0.0.0:80", "-", "-"},
		{"process", "tcp LISTEN helper[5]+java[9]", "helper+java", "helper+java"},
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
	owned := func(pairs ...string) (from made) {
		for i, pair := range pairs {
			s := socketOf("tcp LISTEN")
			s.process, s.user, _ = strings.Cut(pair, "/")
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
		{"process,user", "5", owned("time/wait_buckets"), "time wait_buckets~MARK: 1", "time_wait_buckets~MARK=1"}, // the label of a limit
	} {
		ofLimit := strings.NewReplacer("~MARK", mark("time"+keySeparator+"wait_buckets"))
		test.text, test.values = ofLimit.Replace(test.text), ofLimit.Replace(test.values)
		output, _ := replyTo(t, test.from, "--by", test.by, "-w", test.thresholds, "--no-details")
		if textOf(output) != test.text || valuesOf(output) != test.values {
			t.Errorf("-w %s: got  %swant %s|%s", test.thresholds, output, test.text, test.values)
		}
	}
}

func TestPartsOfLabelsAreTakenByEveryReader(t *testing.T) {
	for value, want := range map[string]string{
		"my app": "my_app", "10.0.0.5": "10.0.0.5", "::": "0-0-0-0-0-0-0-0", "fd00::1": "fd00-0-0-0-0-0-0-1", "2001:db8::5:0:a": "2001-db8-0-0-0-5-0-a",
		"443": "443", "-": "-", "?": "?", "*": "*", "CLOSE_WAIT": "CLOSE_WAIT", "a-b": "a-b", "1.2.3": "1.2.3",
	} {
		if got := labelOf(value); got != want {
			t.Errorf("%s: got %s", value, got)
		}
	}
	for _, dimensionsOf := range []grouping{{byRemoteAddress}, {byRemoteAddress, byRemotePort}, {byProcess, byUnit}, {byStatus, byUser}} {
		s := socketOf("tcp CLOSE_WAIT x:::y a|b [fd00::1]:80 [fd00::2]:443 unit=user@1000.service")
		if label := dimensionsOf.label(string(dimensionsOf.key(nil, s))); strings.ContainsAny(label, ": |='\"") {
			t.Errorf("got %s", label)
		}
	}
}

func TestMarksAreCutOffTheEndOfANameOnly(t *testing.T) {
	for _, test := range []struct{ name, rest, mark string }{
		{"a_b~08bd8540", "a_b", "~08bd8540"},
		{"a_b~08BD8540", "a_b", "~08bd8540"},
		{"~08bd8540", "", "~08bd8540"},
		{"a_b~08bd854", "a_b~08bd854", ""},
		{"a_b~08bd854g", "a_b~08bd854g", ""},
		{"a_b~08bd85400", "a_b~08bd85400", ""},
		{"a_b~08bd8540 c", "a_b~08bd8540 c", ""},
		{"a_b-08bd8540", "a_b-08bd8540", ""},
		{"short", "short", ""},
		{"", "", ""},
	} {
		if rest, found := cutMark(test.name); rest != test.rest || found != test.mark {
			t.Errorf("%s: got %q, %q", test.name, rest, found)
		}
	}
	if mark("a=b") != "~0ab0bc73" || mark("a:b") != "~08bd8540" || len(mark("")) != len("~00000000") { // in every run
		t.Errorf("got %s, %s", mark("a=b"), mark("a:b"))
	}
}

// A mark that no group has names a group without a socket, and a name that ends
// as a mark does is still one.
func TestMarksAreChecked(t *testing.T) {
	for _, test := range []struct{ thresholds, sockets, text string }{
		{"a_b~12345678=5", "tcp LISTEN a:b", "a_b~08bd8540: 1, a_b~12345678: 0"},
		{"a_b~0ab0bc73=0", "tcp LISTEN a=b", "a_b: 1 [WARNING]"},
		{"a_b~0ab0bc73=5", "tcp LISTEN web", "web: 1, a_b~0ab0bc73: 0"},
		{"web~12345678=0", "tcp LISTEN web~12345678", "web~12345678~5e542455: 1 [WARNING]"}, // nobody may choose a mark
		{"web~12345678~5e542455=0", "tcp LISTEN web~12345678", "web~12345678~5e542455: 1 [WARNING]"},
		{"web=0", "tcp LISTEN web~12345678", "web~12345678~5e542455: 1, web: 0"},
	} {
		output, _ := replyTo(t, socketsOf(test.sockets), "--by", "process", "-w", test.thresholds, "--no-details")
		got := strings.Split(textOf(output), ", ")
		want := strings.Split(test.text, ", ")
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("-w %s: got %s", test.thresholds, output)
		}
	}
}

func TestNamesThatNoGroupCanHaveAreNotRead(t *testing.T) {
	for _, test := range []struct{ by, name string }{
		{"type,status", "tcp"}, {"type,status", "tcp_listen_x"}, {"type,status", "sctp_listen"}, {"remote-address", "10.0.0.256"}, {"remote-address", "fd00-0-0-0-0-0-1"},
		{"remote-address", "fe80::1%eth0"}, {"remote-port", "65536"}, {"remote-port", "80-90"}, {"local-port", "-"}, {"remote-address,remote-port", "10.0.0.5"},
		{"remote-address,remote-port", "*"}, {"direction", "both"}, {"process", ""}, {"process,status", "java"}, {"status,process", "listen_"},
	} {
		if key, ok := configOf(t, "--by", test.by).levels.by.parse(test.name); ok {
			t.Errorf("by %s: %q is read as %q", test.by, test.name, key)
		}
	}
}
