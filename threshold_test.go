package main

import (
	"strings"
	"testing"
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
		{"process,status", "1,JAVA_fin_wait1=2,java_FIN_WAIT_2=3", "tcp FIN_WAIT2 java", "3"},
		{"process", "1,ja va=2", "tcp LISTEN ja_va", "2"},
		{"process", "1,java=2,javac=3", "tcp LISTEN java+web", "2"}, // one of several holders
		{"process", "1,web=2,java+web=3", "tcp LISTEN java+web", "3"},
		{"process,status", "1,web_listen=2", "tcp LISTEN java+web", "2"},
		{"process", "1,c=2", "tcp LISTEN c++", "1"},
		{"remote-address,remote-port", "1,-=2", "tcp LISTEN", "2"},
	} {
		config, err := parseArguments([]string{"--by", test.by, "-w", test.thresholds})
		if err != nil {
			t.Errorf("%s: %v", test.thresholds, err)
			continue
		}
		got, by := "", config.levels.by
		if threshold := config.levels.warning.of(by, &group{row: row{key: string(by.key(nil, socketOf(test.line)))}}); threshold != nil {
			got = threshold.String()
		}
		if got != test.applies {
			t.Errorf("by %s, %s on %s: got %q, want %q", test.by, test.thresholds, test.line, got, test.applies)
		}
	}
}

// Monitoring systems give an empty text for a variable that is not set.
func TestEmptyThresholdIsNone(t *testing.T) {
	for _, arguments := range [][]string{
		{"--warning", "", "--critical="}, {"-w", "none", "-c", "None"}, {"-w=", "-c="}, {"--warning=", "--critical", "NONE"}, {"-w", " ", "-c", " none "},
	} {
		config := configOf(t, arguments...)
		if len(config.levels.warning)+len(config.levels.critical) > 0 || config.levels.isJudgedEmpty {
			t.Errorf("%q: got %v, %v", arguments, config.levels.warning, config.levels.critical)
		}
	}
	if output, code := reply("-w", "", "-c", "none", "--test", "testdata/empty.json"); code != 0 || linesOf(output) != "" {
		t.Errorf("got %d %s", code, output)
	}
	for _, arguments := range [][]string{{"-w", "10,"}, {"-w", "none,5"}, {"-w", "total="}} {
		if config, err := parseArguments(arguments); err == nil {
			t.Errorf("%q is taken: %v", arguments, config.levels.warning)
		}
	}
}

// What existing definitions contain, and group names as the output prints them.
func TestSpellingsOfThresholds(t *testing.T) {
	for _, test := range []struct{ typed, plain string }{
		{`\-1:5`, "-1:5"},
		{`tcp=\@10:20`, "tcp=@10:20"},
		{" 10 : 20 ", "10:20"},
		{"tcp CLOSE WAIT = 10", "tcp_close_wait=10"},
		{"tcp4=5,ESTAB=6,tcp_listening=7", "tcp=5,established=6,tcp_listen=7"},
		{"close-wait=5,FIN_WAIT_1=6", "close_wait=5,fin_wait1=6"},
		{"a=1, b=2", ""},
		{"tcp=1, udp=2", "tcp=1,udp=2"},
	} {
		config, err := parseArguments([]string{"-w", test.typed})
		if test.plain == "" {
			if err == nil {
				t.Errorf("%q is taken", test.typed)
			}
			continue
		}
		if err != nil || describe(config) != describe(configOf(t, "-w", test.plain)) {
			t.Errorf("%q: got %v", test.typed, err)
		}
	}
	if thisSystem == "linux" {
		for _, typed := range []string{"limits=80%", "Limits = 80 %", "limits=80"} {
			config, err := parseArguments([]string{"-w", typed})
			if err != nil || config.levels.warning.first("limits") == nil || config.levels.warning.first("limits").Upper != 80 {
				t.Errorf("%q: got %v", typed, err)
			}
		}
	}
}

func TestThresholdsOnARecording(t *testing.T) {
	for _, test := range []struct{ arguments, text, values string }{
		{
			"--by local-port --conn-status established --top 1 -w 53=5,40001=10",
			"443: 2, 40001: 1, 53: 0 (+7 more: 7)", "443=2 40001=1 53=0",
		},
		{"--by remote-address,remote-port --remote-port 443 -w [fd00::1]:443=2", "[fd00::1]:443: 3 [WARNING]", "fd00-0-0-0-0-0-0-1_443=3"},
		{
			"--by remote-address,status --remote-port 443 -w [FD00::2]_close_wait=2,fd00::1_Established=5",
			"fd00::1 ESTABLISHED: 3, fd00::2 CLOSE WAIT: 0", "fd00-0-0-0-0-0-0-1_ESTABLISHED=3 fd00-0-0-0-0-0-0-2_CLOSE_WAIT=0",
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

// FuzzThresholds tries any list with any grouping.
func FuzzThresholds(f *testing.F) {
	for _, list := range []string{
		"10", "1,tcp=2,listen=3,tcp_listen=4", "tcp6=2,closing=3,total=9", "udp_none=@3:", "TCP-Close-Wait=5", "tcp_bound=1", "tcp_fin_wait_1=1, tcp6_syn-rcvd = 5:10",
		"ephemeral=80,total=~:5", "ephemeral=101", "close=1,closed=2", "1,2", "udp=5,UDP=6", "udp_listen=5", "=5", "udp=", "a=b=5", "sctp=5", "", ",", "total=",
		"java=1", "java_close_wait=2,a b_LISTEN=@1", "-=1", "[fd00::1]:443=0", "10.0.0.5_80=1", "?=5", "a_b~12345678=1", "total=1e308", "very-long-proce=1:",
	} {
		for _, by := range []string{"type,status", "process", "process,status", "remote-address,remote-port", "status,user"} {
			f.Add(list, by)
		}
	}
	from := made(socketsOf("2 tcp LISTEN java root", "3 tcp6 CLOSE_WAIT very-long-process ? 10.0.0.1:40000 [fd00::1]:443"))
	f.Fuzz(func(t *testing.T, list, by string) {
		arguments := []string{"--warning=" + list, "--by=" + by, "--top=0", "--always-ok"}
		config, err := parseArguments(arguments)
		if err != nil {
			if _, err := harmless(errorText(err)); err != nil {
				t.Error(err)
			}
			return
		}
		output, code := replyTo(t, from, arguments...)
		if _, err := harmless(output); err != nil || code != 0 {
			t.Errorf("got %d %s: %v", code, output, err)
		}
		if isCertain := !strings.Contains(textOf(output), " to "); isCertain {
			mustBeHarmless(t, output, 5)
		}
		for _, named := range config.levels.named {
			isReported := func(name string) bool { return strings.Contains(strings.ToLower(output), strings.ToLower(name)) }
			if by := config.levels.by; !isReported(by.label(named.key)) && !isReported(by.text(named.key)) && !isReported(mark(named.key)) {
				t.Errorf("%q is named and not reported: %s", by.label(named.key), output)
			}
		}
	})
}
