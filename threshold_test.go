package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/NETWAYS/go-check"
	"github.com/shirou/gopsutil/v3/net"
)

func TestRangesAlertAsInTheCPlugins(t *testing.T) {
	tests := []struct {
		text   string
		alerts []float64
		quiet  []float64
	}{
		{"10", []float64{-1, 11, 10.001}, []float64{0, 10}},
		{"10:", []float64{9, 9.999, -5}, []float64{10, 1e12}},
		{":10", []float64{-1, 11}, []float64{0, 10}},
		{"~:10", []float64{11}, []float64{-1e12, 10}},
		{"10:20", []float64{9, 21}, []float64{10, 20}},
		{"@10:20", []float64{10, 20}, []float64{9, 21}},
		{"@10", []float64{0, 10}, []float64{-1, 11}},
		{"@10:", []float64{10, 1e12}, []float64{9}},
		{"@:10", []float64{0, 10}, []float64{-1, 11}},
		{"@~:10", []float64{-1e12, 10}, []float64{11}},
		{"-5:5", []float64{-6, 6}, []float64{-5, 5}},
		{"1.5", []float64{-0.001, 1.501}, []float64{0, 1.5}},
		{"0.5:1.5", []float64{0.499, 1.501}, []float64{0.5, 1.5}},
		{":", []float64{-1}, []float64{0, 1e12}},
		{"0:", []float64{-1}, []float64{0, 1e12}},
		{"@0:", []float64{0, 1e12}, []float64{-1}},
		{"~:", nil, []float64{-1e12, 1e12}},
		{"@~:", []float64{-1e12, 1e12}, nil},
		{"7:7", []float64{6, 8}, []float64{7}},
		{"0", []float64{-1, 1}, []float64{0}},
		{"1e3", []float64{-1, 1001}, []float64{0, 1000}},
		{"+5:.5e1", []float64{4, 6}, []float64{5}},
	}
	for _, test := range tests {
		t.Run(test.text, func(t *testing.T) {
			threshold, err := parseRange(test.text)
			if err != nil {
				t.Fatal(err)
			}
			for _, value := range test.alerts {
				if !threshold.DoesViolate(value) {
					t.Errorf("%g must alert", value)
				}
			}
			for _, value := range test.quiet {
				if threshold.DoesViolate(value) {
					t.Errorf("%g must not alert", value)
				}
			}
		})
	}
}

func TestBadRangesAreRefused(t *testing.T) {
	tests := []struct{ text, message string }{
		{"", `range "": it is empty, a range is [@][start:][end]`},
		{"ten", `range "ten": "ten" is not a number`},
		{"10x", `range "10x": "10x" is not a number`},
		{"10:x", `range "10:x": "x" is not a number`},
		{"x:10", `range "x:10": "x" is not a number`},
		{"10 :20", `range "10 :20": "10 " is not a number`},
		{"0x10", `range "0x10": "0x10" is not a number`},
		{"1_000", `range "1_000": "1_000" is not a number`},
		{"inf", `range "inf": "inf" is not a number`},
		{"nan:5", `range "nan:5": "nan" is not a number`},
		{"1e999", `range "1e999": "1e999" is not a number`},
		{"80%", `range "80%": "80%" is not a number`},
		{"20:10", `range "20:10": the start 20 is above the end 10`},
		{"@0.5:-1", `range "@0.5:-1": the start 0.5 is above the end -1`},
		{"-1", `range "-1": the start 0 is above the end -1`},
		{"@", `range "@": an @ needs a range behind it, as in @10:20`},
		{"~", `range "~": a ~ stands for the start only, as in ~:10`},
		{"@~", `range "@~": a ~ stands for the start only, as in ~:10`},
		{"10:~", `range "10:~": "~" is not a number`},
		{"@@10", `range "@@10": "@10" is not a number`},
		{"10:20:30", `range "10:20:30": ":30" is left over`},
		{"10::", `range "10::": ":" is left over`},
	}
	for _, test := range tests {
		t.Run(test.text, func(t *testing.T) {
			if _, err := parseRange(test.text); err == nil || err.Error() != test.message {
				t.Errorf("got %v, want %s", err, test.message)
			}
		})
	}
}

func TestTheMostSpecificRangeApplies(t *testing.T) {
	tests := []struct {
		thresholds string
		socketType string
		status     string
		applies    string
	}{
		{"1,tcp=2,listen=3,tcp_listen=4", "tcp", "LISTEN", "4"},
		{"1,tcp=2,listen=3,tcp6_listen=4", "tcp", "LISTEN", "3"},
		{"1,tcp=2,closing=3", "tcp", "LISTEN", "2"},
		{"1,tcp6=2,closing=3", "tcp", "LISTEN", "1"},
		{"tcp6=2,closing=3,total=9", "tcp", "LISTEN", ""},
		{"1,udp=2,none=3", "udp", "NONE", "3"},
		{"1", "tcp", "NEW_STATE", "1"},
	}
	for _, test := range tests {
		t.Run(test.thresholds, func(t *testing.T) {
			thresholds, _, err := parseThresholds(strings.Split(test.thresholds, ","), defaultGrouping, nil)
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			if threshold := thresholds.of(defaultGrouping.group(keyOf(test.socketType, test.status), part{}), defaultGrouping); threshold != nil {
				got = threshold.String()
			}
			if got != test.applies {
				t.Errorf("got %q, want %q", got, test.applies)
			}
		})
	}
}

func TestCriticalGoesBeforeWarning(t *testing.T) {
	config, err := parseArguments(strings.Fields("-w 10 -c 20"))
	if err != nil {
		t.Fatal(err)
	}
	for count, want := range map[int]check.Status{10: check.OK, 11: check.Warning, 20: check.Warning, 21: check.Critical} {
		items := judge([]Group{{Type: "tcp", Status: "LISTEN", Label: "tcp_LISTEN", Count: count}}, nil, config)
		if len(items) != 1 || items[0].State != want {
			t.Errorf("%d: got %v, want %v", count, items, want)
		}
	}
}

// What is not seen must not make an OK of what could be a violation.
func TestSocketsOfUnseenProcessesCanCastDoubt(t *testing.T) {
	for _, test := range []struct {
		arguments                  string
		seen, unseen, unseenListen int // sockets: of one process, and of others
		doubtful                   bool
	}{
		{"-w 10", 9, 0, 0, false},
		{"-w 10", 9, 1, 0, false},
		{"-w 10", 9, 2, 0, true},
		{"-c 10", 9, 2, 0, true},
		{"-w 10", 9, 11, 0, false}, // a violation, whoever has them
		{"-w 10", 11, 5, 0, false}, // a violation already
		{"", 9, 1000, 0, false},
		{"-w total=100", 9, 50, 0, false},
		{"-w 10", 9, 0, 5, false}, // in another status
		{"-w 5:", 9, 6, 0, true},  // one of the others may have less
		{"-w 1:", 9, 6, 0, false},
		{"-w @12:13", 9, 2, 0, false},
		{"-w @12:13", 9, 3, 0, true},
		{"-w @2:3", 9, 5, 0, true},
		{"-w @10.2:10.8", 9, 5, 0, false}, // no number of sockets
		{"-w 100,web_established=10", 9, 2, 0, true},
		{"-w 100,web_listen=10", 9, 2, 0, false},
		{"-w ~:10 -c ~:20", 9, 1, 20, false},
	} {
		t.Run(fmt.Sprintf("%s %d+%d", test.arguments, test.seen, test.unseen), func(t *testing.T) {
			records := func(yield func(net.ConnectionStat, error) bool) {
				for _, sockets := range []struct {
					number int
					pid    int32
					status string
				}{{test.seen, 1, "ESTABLISHED"}, {test.unseen, pidUnseen, "ESTABLISHED"}, {test.unseenListen, pidUnseen, "LISTEN"}, {50, pidNothing, "TIME_WAIT"}} {
					for range sockets.number {
						if !yield(net.ConnectionStat{Family: afInet, Type: sockStream, Status: sockets.status, Pid: sockets.pid}, nil) {
							return
						}
					}
				}
			}
			config, err := parseArguments(append(strings.Fields(test.arguments), "--by", "process,status", "--process", "web,?"))
			if err != nil {
				t.Fatal(err)
			}
			reading, err := count([]part{{names: hostileNames{"web"}, sources: []source{{"test", records}}}}, config)
			if err != nil {
				t.Fatal(err)
			}
			if got := isDoubtful(judge(reading.Groups, nil, config), config); got != test.doubtful {
				t.Errorf("got %t of %v", got, reading.Groups)
			}
		})
	}
}

// Every group can be named as it is shown, whatever is selected.
func TestGroupsAreNamedAsTheyAreShown(t *testing.T) {
	names := hostileNames{"node_exporter", "my app", "closing time", "NetworkManager", "a_b_c_d", "wait_for_it"}
	records := func(yield func(net.ConnectionStat, error) bool) {
		for i := range names {
			for _, status := range []string{"CLOSE_WAIT", "CLOSE", "FIN_WAIT1", "LISTEN"} {
				record := net.ConnectionStat{
					Family: afInet6[0], Type: sockStream, Status: status, Pid: int32(i + 1), Uids: []int32{int32(i + 1)},
					Laddr: net.Addr{IP: "fd00::1", Port: 80}, Raddr: net.Addr{IP: "10.0.0.5", Port: 443},
				}
				if !yield(record, nil) {
					return
				}
			}
		}
	}
	one := part{netns: "my_pod", names: names, sources: []source{{"test", records}}}
	for _, by := range []string{
		"process", "process,status", "status,process", "type,status,process", "process,user", "user,status", "status,user,process",
		"netns,status", "status,netns,process", "local-address,local-port,process", "remote-address,remote-port", "process,remote-address,remote-port,status",
		"remote-port,status", "process,type,status",
	} {
		for _, selected := range []string{"--top=0", "--conn-status=close_wait", "--process=node_exporter,my app", "--local-port=80", "--remote-address=10.0.0.0/8"} {
			all, err := parseArguments([]string{"--by", by, selected})
			if err != nil {
				t.Fatal(err)
			}
			whole, err := count([]part{one}, all)
			if err != nil {
				t.Fatal(err)
			}
			for _, group := range whole.Groups {
				for _, name := range []string{group.Label, group.Text, strings.ToLower(group.Label), strings.ToLower(group.Text)} {
					config, err := parseArguments([]string{"--by", by, selected, "-w", name + "=0"})
					if err != nil {
						t.Errorf("%s %s: %v", by, selected, err)
						continue
					}
					reading, err := count([]part{one}, config)
					if err != nil || len(reading.Groups) != len(whole.Groups) {
						t.Fatalf("%s %s %q: got %d groups, want %d, %v", by, selected, name, len(reading.Groups), len(whole.Groups), err)
					}
					for _, item := range judge(reading.Groups, nil, config) {
						if is := item.Group.Label == group.Label; is && item.State != check.Warning || !is && item.State != check.OK && folded(item.Label) != folded(group.Label) {
							t.Errorf("%s %s %q: %s is %s", by, selected, name, item.Label, item.State)
						}
					}
				}
			}
		}
	}
}
