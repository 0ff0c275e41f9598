package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/NETWAYS/go-check"
)

func TestPlainRangeAppliesToEveryGroup(t *testing.T) {
	for _, by := range []string{"type,status", "process", "remote-address,remote-port"} {
		output, code := replyTo(t, socketsOf("2 tcp LISTEN web", "3 udp NONE dns - - 10.0.0.5:53"), "--by", by, "-w", "1", "-c", "2")
		if metrics, err := harmless(output); err != nil || code != 2 || len(metrics) != 2 || !strings.Contains(output, "=3;1;2;0 ") || !strings.Contains(output, "=2;1;2;0\n") {
			t.Errorf("by %s: got %d %s", by, code, output)
		}
	}
}

func TestMostSpecificRangeApplies(t *testing.T) {
	for _, test := range []struct{ by, thresholds, line, applies string }{
		{"type,status", "1,tcp=2,listen=3,tcp_listen=4", "tcp LISTEN", "4"},
		{"type,status", "1,tcp=2,listen=3,tcp6_listen=4", "tcp LISTEN", "3"},
		{"type,status", "1,tcp=2,closing=3", "tcp LISTEN", "2"},
		{"type,status", "1,tcp6=2,closing=3", "tcp LISTEN", "1"},
		{"type,status", "tcp6=2,closing=3,total=9", "tcp LISTEN", ""},
		{"type,status", "1,udp=2,none=3", "udp NONE", "3"},
		{"type,status", "1", "tcp NEW_STATE", "1"},
		{"status,type", "1,tcp=2,listen=3,listen-tcp=4", "tcp LISTEN", "4"},
		{"status", "1,listen=3", "tcp6 LISTEN", "3"},
		{"type", "1,tcp6=3", "tcp LISTEN", "1"},
		{"process", "1,java=2", "tcp LISTEN java", "2"},
		{"process", "1,java=2", "tcp LISTEN web", "1"},
		{"process", "1,very-long-proce=2", "tcp LISTEN very-long-process", "2"}, // as ss -p shows it
		{"process", "1,very-long-proce=2,very-long-process=3", "tcp LISTEN very-long-process", "3"},
		{"process", "1,very-long-proc=2", "tcp LISTEN very-long-process", "1"},
		{"process,status", "1,JAVA_fin-wait1=2,java_FIN_WAIT_2=3", "tcp FIN_WAIT2 java", "3"},
		{"process", "1,ja va=2", "tcp LISTEN ja_va", "2"},
		{"remote-address,remote-port", "1,-=2", "tcp LISTEN", "2"},
	} {
		config, err := parseArguments([]string{"--by", test.by, "-w", strings.Replace(test.thresholds, "fin-wait1", "fin_wait1", 1)})
		if err != nil {
			t.Errorf("%s: %v", test.thresholds, err)
			continue
		}
		got, by := "", config.Levels.by
		if threshold := config.Levels.warning.of(by, string(by.key(nil, socket(test.line)))); threshold != nil {
			got = threshold.String()
		}
		if got != test.applies {
			t.Errorf("by %s, %s on %s: got %q, want %q", test.by, test.thresholds, test.line, got, test.applies)
		}
	}
}

func TestThresholdsOnARecording(t *testing.T) {
	for _, test := range []struct{ arguments, text, values string }{
		{"--by remote-address --top 2 -w @1:3 -c 10.0.0.53=0", "10.0.0.53: 1 [CRITICAL], -: 3 [WARNING] (+3 more: 22)", "10.0.0.53=1 -=3"},
		{
			"--by local-port --conn-status established --top 1 -w 53=5,40001=10",
			"443: 2, 40001: 1, 53: 0 (+7 more: 7)", "443=2 40001=1 53=0",
		},
		{"--by remote-address,remote-port --remote-port 443 -w [fd00::1]:443=2", "[fd00::1]:443: 3 [WARNING]", "fd00:0:0:0:0:0:0:1_443=3"},
		{
			"--by remote-address,status --remote-port 443 -w [FD00::2]_close_wait=2,fd00::1_Established=5",
			"fd00::1 ESTABLISHED: 3, fd00::2 CLOSE WAIT: 0", "fd00:0:0:0:0:0:0:1_ESTABLISHED=3 fd00:0:0:0:0:0:0:2_CLOSE_WAIT=0",
		},
		{
			"--by status,type --conn-status listen,established -w tcp6=4,listen_tcp=2:",
			"ESTABLISHED tcp: 5, ESTABLISHED tcp6: 5 [WARNING], LISTEN tcp: 1 [WARNING], LISTEN tcp6: 1",
			"ESTABLISHED_tcp=5 ESTABLISHED_tcp6=5 LISTEN_tcp=1 LISTEN_tcp6=1",
		},
		{"--by status --conn-type udp -w none=5:,total=1:", "NONE: 2 [WARNING], total: 2", "NONE=2 total=2"},
		{"--by remote-address,remote-port --top 1 -w -=1", "-: 3 [WARNING] (+13 more: 23)", "-_-=3"},
		{"--conn-status delete_tcb,listen -w tcp_bound=1,tcp_listen=0 --conn-status bound", "tcp LISTEN: 1 [WARNING], tcp6 LISTEN: 1, tcp BOUND: 0", "tcp_LISTEN=1 tcp6_LISTEN=1 tcp_BOUND=0"},
	} {
		output, code := reply(append(strings.Fields(test.arguments), "--test", "testdata/leaking-server.json")...)
		if code == 3 || textOf(output) != test.text || valuesOf(output) != test.values {
			t.Errorf("%s: got  %d %swant %s|%s", test.arguments, code, output, test.text, test.values)
		}
	}
}

// rangeTypes and rangeStatuses are what the README says that a name in a
// threshold can be, in the spellings of all systems.
var rangeTypes = []string{"tcp", "tcp6", "udp", "udp6"}

var rangeStatuses = map[string]string{
	"close": "CLOSE", "closed": "CLOSE", "close_wait": "CLOSE_WAIT", "closing": "CLOSING",
	"established": "ESTABLISHED",
	"fin_wait1":   "FIN_WAIT1", "fin_wait_1": "FIN_WAIT1", "fin_wait2": "FIN_WAIT2", "fin_wait_2": "FIN_WAIT2",
	"last_ack": "LAST_ACK", "listen": "LISTEN", "none": "NONE",
	"syn_recv": "SYN_RECV", "syn_received": "SYN_RECV", "syn_rcvd": "SYN_RECV", "syn_sent": "SYN_SENT", "time_wait": "TIME_WAIT",
}

// rangeName is what a name in a threshold is for: a type, a status, both, or
// something else.
type rangeName struct{ socketType, status, other string }

// parseRangeName reads such a name. It returns false for a name of nothing that can exist.
func parseRangeName(text string) (rangeName, bool) {
	text = strings.ReplaceAll(strings.ToLower(text), "-", "_")
	if text == "total" || text == "ephemeral" {
		return rangeName{other: text}, true
	}
	for _, socketType := range append(slices.Clone(rangeTypes), "") {
		rest, found := strings.CutPrefix(text, socketType)
		switch {
		case !found:
			continue
		case rest == "" && socketType != "":
			return rangeName{socketType: socketType}, true
		case socketType != "":
			if rest, found = strings.CutPrefix(rest, "_"); !found {
				continue
			}
		}
		if status := rangeStatuses[rest]; status != "" {
			return rangeName{socketType: socketType, status: status}, socketType == "" || strings.HasPrefix(socketType, "udp") == (status == "NONE")
		}
	}
	return rangeName{}, false
}

// parseRangeList reads a list of [GROUP=]RANGE, and returns false where there is
// anything wrong with it.
func parseRangeList(text string) (map[rangeName]guidelineRange, bool) {
	ranges := map[rangeName]guidelineRange{}
	for item := range strings.SplitSeq(text, ",") {
		var name rangeName
		level := item
		if i := strings.LastIndexByte(item, '='); i >= 0 {
			var known bool
			if name, known = parseRangeName(strings.TrimSpace(item[:i])); !known {
				return nil, false
			}
			level = item[i+1:]
		}
		r, err := parseGuidelineRange(strings.TrimSpace(level))
		if _, twice := ranges[name]; err != nil || twice {
			return nil, false
		}
		ranges[name] = r
	}
	return ranges, true
}

func FuzzThresholds(f *testing.F) {
	for _, list := range []string{
		"10", "1,tcp=2,listen=3,tcp_listen=4", "1,tcp=2,listen=3,tcp6_listen=4", "tcp6=2,closing=3,total=9", "1,udp=2,none=3", "udp_none=@3:",
		"TCP-Close-Wait=5", "tcp_bound=1", "tcp_delete_tcb=1", "idle=1", "tcp_fin_wait_1=1, tcp6_syn-rcvd = 5:10", "ephemeral=80,total=~:5", "ephemeral=101", "ephemeral=@100.5:", "ephemeral=@90:200", "close=1,closed=2", "1,2", "udp=5,UDP=6", "udp_listen=5",
		"=5", "udp=", "a=b=5", "sctp=5", "tcp=5=6", ",", "total=", "tcp6_=1", "tcp_tcp=1",
	} {
		f.Add(list)
	}
	f.Fuzz(func(t *testing.T, list string) {
		if list == "" {
			t.Skip("no list at all")
		}
		config, err := parseArguments([]string{"--warning=" + list})
		want, ok := parseRangeList(list)
		if percent, found := want[rangeName{other: "ephemeral"}]; found && (thisSystem != "linux" || percent.low > 100 || percent.high > 100 && !percent.inside && !math.IsInf(percent.high, 1)) {
			ok = false
		}
		if (err == nil) != ok {
			t.Fatalf("got %v, the rules say %t", err, ok)
		}
		if err != nil {
			if _, err := harmless(errorText(err)); err != nil {
				t.Error(err)
			}
			return
		}
		for _, socketType := range rangeTypes {
			for _, status := range append(statusesOf(thisSystem), "SOMETHING_NEW") {
				if isUDP(socketType) != (status == statusNone) {
					continue
				}
				var applies *guidelineRange
				for _, name := range []rangeName{{socketType, status, ""}, {"", status, ""}, {socketType, "", ""}, {}} {
					if r, found := want[name]; found {
						applies = &r
						break
					}
				}
				mustJudge(t, config, socketType, status, applies)
			}
		}
	})
}

// mustJudge fails the test unless that range, or none, is what decides on the
// group.
func mustJudge(t *testing.T, config *Config, socketType, status string, applies *guidelineRange) {
	t.Helper()
	for _, sockets := range []int{1, 2, 3, 4, 5, 6, 9, 10, 11, 80, 1e6} {
		counted := newCounter([]*tally{config.Question.tally(config.Levels.by)})
		counted[0].add(socket(socketType+" "+status), sockets)
		want := check.OK
		if applies != nil && applies.alerts(float64(sockets)) {
			want = check.Warning
		}
		for _, g := range config.Levels.judgeGroups(counted[0]) {
			if g.known > 0 && g.verdict != (verdict{want, want}) {
				t.Errorf("%s %s, %d: got %v, want %s", socketType, status, sockets, g.verdict, want)
			}
		}
	}
}

func TestFuzzTargetsReadLists(t *testing.T) {
	ranges, ok := parseRangeList("1,tcp=2, close-wait = 3:4 ,tcp6_fin_wait_1=@5,total=6")
	want := map[rangeName]guidelineRange{
		{}:                        {false, 0, 1},
		{socketType: "tcp"}:       {false, 0, 2},
		{status: "CLOSE_WAIT"}:    {false, 3, 4},
		{"tcp6", "FIN_WAIT1", ""}: {true, 0, 5},
		{other: "total"}:          {false, 0, 6},
	}
	if !ok || fmt.Sprint(ranges) != fmt.Sprint(want) {
		t.Errorf("got %v", ranges)
	}
}
