package main

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// The forms of an item in a first line. What others have chosen has nothing in
// it that could end an item or begin another one.
var (
	groupItem = regexp.MustCompile(`^[^,;=|'"` + "`" + `<>&\\{}$]+: ([0-9]+)(?: to [0-9]+)?( \[(?:WARNING|CRITICAL)\](?: \([^,;=|'"` + "`" + `<>&\\{}$]+ [0-9]+\))?)?( \(\+[0-9]+ more: [0-9]+(?: to [0-9]+)?\))?$`)
	uncertain = regexp.MustCompile(`: [0-9]+ to [0-9]+(?: |$)`)
	restItem  = regexp.MustCompile(`^\(\+[0-9]+ more: [0-9]+(?: to [0-9]+)?\)$`)
	firstPart = regexp.MustCompile(`^\[(OK|WARNING|CRITICAL|UNKNOWN)\] - `)
)

// harmless returns the performance data of an output, and what is wrong with
// the output: it must be safe to print on a terminal, to put into a page and to
// parse, whatever others have put into it.
func harmless(output string) ([]metric, error) {
	switch {
	case len(output) == 0 || len(output) > 64<<10:
		return nil, fmt.Errorf("%d bytes", len(output))
	case !utf8.ValidString(output) || !strings.HasSuffix(output, "\n"):
		return nil, fmt.Errorf("not lines of UTF-8: %.300q", output)
	}
	for _, r := range output {
		if r != '\n' && !unicode.IsPrint(r) || unicode.Is(unicode.Bidi_Control, r) || strings.ContainsRune("<>&`\\", r) || r == utf8.RuneError {
			return nil, fmt.Errorf("%q is harmful in %.300q", r, output)
		}
	}
	for _, trace := range []string{"goroutine ", "panic", ".go:"} {
		if strings.Contains(output, trace) {
			return nil, fmt.Errorf("a stack trace: %.300q", output)
		}
	}
	if strings.HasPrefix(output, "Usage: ") || strings.HasPrefix(output, programName+" version ") {
		return nil, nil
	}
	first, more, _ := strings.Cut(output, "\n")
	state := firstPart.FindString(first)
	text, perfdata, hasPerfdata := strings.Cut(first[len(state):], "|")
	switch {
	case state == "":
		return nil, fmt.Errorf("no state: %.300q", first)
	case strings.Contains(perfdata+more, "|"):
		return nil, fmt.Errorf("a second |: %.300q", output)
	case state == "[UNKNOWN] - ":
		if more != "" || hasPerfdata {
			return nil, fmt.Errorf("UNKNOWN with more than a line: %.300q", output)
		}
		return nil, nil
	case strings.Count(more, "\n") > 20:
		return nil, fmt.Errorf("%d lines: %.300q", strings.Count(more, "\n"), output)
	}
	metrics, err := parsePerfdata(perfdata)
	if err != nil {
		return nil, fmt.Errorf("%w in %.300q", err, output)
	}
	return metrics, matchItems(text, metrics, hasPerfdata)
}

// matchItems returns an error where the items of the first line are not those
// of the performance data, in its order and with its values. Only with --zero
// has it an order of its own.
func matchItems(text string, metrics []metric, hasPerfdata bool) error {
	text = strings.TrimSuffix(text, " (always ok)")
	if strings.HasPrefix(text, "No connections of type ") {
		text = ""
	}
	labels := map[string]bool{}
	for part := range strings.SplitSeq(text, ", ") {
		if text == "" || restItem.MatchString(part) {
			continue
		}
		value := groupItem.FindStringSubmatch(part)
		switch {
		case value == nil:
			return fmt.Errorf("%.300q is no item in %.300q", part, text)
		case !hasPerfdata || uncertain.MatchString(part): // what is not certain is not emitted
			continue
		case len(metrics) == 0:
			return fmt.Errorf("%.300q has no performance data", part)
		}
		isItem := func(m metric) bool { return strconv.Itoa(int(m.value)) == value[1] }
		isPlain := func(m metric) bool { return strings.ReplaceAll(m.label, "_", " ") == strings.Split(part, ":")[0] }
		index := max(0, slices.IndexFunc(metrics, func(m metric) bool { return isItem(m) && isPlain(m) }))
		m := metrics[index]
		if !isItem(m) || labels[m.label] {
			return fmt.Errorf("%.300q has the performance data %.300q %g", part, m.label, m.value)
		}
		labels[m.label] = true
		metrics = slices.Delete(slices.Clone(metrics), index, index+1)
	}
	if len(metrics) > 0 {
		return fmt.Errorf("performance data without an item: %s", metricsText(metrics))
	}
	return nil
}

func TestOutputFitsIntoOneNRPEPacket(t *testing.T) {
	const most = 20000
	var listening made
	for port := range most {
		listening = append(listening, socketOf(fmt.Sprintf("tcp LISTEN - - 10.0.0.1:%d", port+1)))
	}
	for _, arguments := range []string{"--top 0", "--top 0 -w 0", "--top 0 --no-perfdata", "--top 0 --always-ok -c 0 -w total=5"} {
		output, _ := replyTo(t, listening, append(strings.Fields(arguments), "--by", "local-port")...)
		groups, _, _ := strings.Cut(textOf(output), " (+")
		shown := strings.Count(groups, ": 1")
		if !strings.Contains(output, fmt.Sprintf(" (+%d more: %d)", most-shown, most-shown)) {
			t.Errorf("%s: %d groups are shown, and not how many are left", arguments, shown)
		}
		if len(output) > maxOutput || len(output) < maxOutput-200 {
			t.Errorf("%s: %d bytes", arguments, len(output))
		}
		if values := strings.Count(valuesOf(output), "=1"); valuesOf(output) != "" && values != shown {
			t.Errorf("%s: %d groups are shown, %d emitted", arguments, shown, values)
		}
	}
	output, _ := replyTo(t, listening, "--by", "local-port", "--top", "0", "-w", "19000=5")
	if _, err := harmless(output); err != nil || len(output) > maxOutput || !strings.Contains(output, "[OK] - 19000: 1, ") || !strings.Contains(output, "|19000=1;5;;0 ") {
		t.Errorf("%d bytes, %v: %.300s", len(output), err, output)
	}
}

func TestGroupsThatAreShown(t *testing.T) {
	from := made(socketsOf("9 tcp LISTEN a", "3 tcp LISTEN b", "3 tcp6 LISTEN c", "1 tcp LISTEN d", "1 tcp LISTEN e"))
	for _, test := range []struct{ arguments, text, values string }{
		{"", "a: 9, b: 3, c: 3, d: 1, e: 1", "a=9 b=3 c=3 d=1 e=1"},
		{"--top 0", "a: 9, b: 3, c: 3, d: 1, e: 1", "a=9 b=3 c=3 d=1 e=1"},
		{"--top 1", "a: 9 (+4 more: 8)", "a=9"},
		{"--top 2 -w @1:3 -c e=0", "e: 1 [CRITICAL], b: 3 [WARNING] (+3 more: 13)", "e=1 b=3"},
		{"--top 1 -w f=5,d=10", "a: 9, d: 1, f: 0 (+3 more: 7)", "a=9 d=1 f=0"},
		{"--top 1 -w total=1", "a: 9 (+4 more: 8), total: 17 [WARNING]", "a=9 total=17"},
		{"--top 1 --no-perfdata", "a: 9 (+4 more: 8)", ""},
	} {
		output, _ := replyTo(t, from, append(strings.Fields(test.arguments), "--by", "process", "--no-details")...)
		if textOf(output) != test.text || valuesOf(output) != test.values {
			t.Errorf("%s: got  %s\nwant %s|%s", test.arguments, output, test.text, test.values)
		}
	}
}

// PNP4Nagios stores performance data by position: with --zero each value has one
// of its own, however many sockets there are.
func TestZeroKeepsThePerformanceDataInOneOrder(t *testing.T) {
	hosts := []made{
		nil, socketsOf("9 udp6 NONE", "tcp LISTEN", "3 tcp6 CLOSE_WAIT"), socketsOf("9 tcp LISTEN", "2 udp6 NONE", "5 tcp6 TIME_WAIT", "tcp CLOSE"),
	}
	labelsOf := func(output string) string {
		return regexp.MustCompile(`=[0-9]+`).ReplaceAllString(valuesOf(output), "")
	}
	for arguments, want := range map[string]string{
		"--conn-type tcp,udp6 --conn-status listen,close,none":                     "tcp_CLOSE tcp_LISTEN udp6_NONE",
		"--conn-type tcp --conn-status listen,close -w total=99,listen=50 -c 9999": "tcp_CLOSE tcp_LISTEN total",
		"--by type":                             "tcp tcp6 udp udp6",
		"--by status --conn-status listen,none": "LISTEN NONE",
		"--by status,type --conn-status listen": "LISTEN_tcp LISTEN_tcp6",
	} {
		for i, from := range hosts {
			output, _ := replyTo(t, from, append(strings.Fields(arguments), "--zero")...)
			if got := labelsOf(output); got != want {
				t.Errorf("%s, host %d: got %s", arguments, i, got)
			}
		}
	}
	output, _ := replyTo(t, hosts[2], "--zero", "--conn-type", "tcp,udp6", "--conn-status", "listen,close,none")
	if want := "tcp LISTEN: 9, udp6 NONE: 2, tcp CLOSE: 1"; textOf(output) != want { // the text begins with most
		t.Errorf("got %s", output)
	}
	all, _ := replyTo(t, hosts[1], "--zero")
	again, _ := replyTo(t, hosts[2], "--zero")
	if labels := labelsOf(all); labels != labelsOf(again) || len(strings.Fields(labels)) != len((&question{}).kinds(statusesOf(thisSystem))) {
		t.Errorf("got  %s\nand  %s", labels, labelsOf(again))
	}
}

// The text names all that was asked for, as it was typed.
func TestNothingFoundNamesWhatWasAskedFor(t *testing.T) {
	for _, test := range []struct{ arguments, text string }{
		{"", `No connections of type "all" in status "all" found.`},
		{"--conn-type udp --conn-type tcp,udp", `No connections of type "udp,tcp" in status "all" found.`},
		{"--conn-type TCP6,all", `No connections of type "all" in status "all" found.`},
		{"--conn-status Close-Wait,CLOSED,fin_wait_1,syn_rcvd", `No connections of type "all" in status "close_wait,close,fin_wait1,syn_recv" found.`},
		{"--local-port 1", `No connections of type "all" in status "all" with --local-port 1 found.`},
		{
			"--conn-type tcp --conn-status close-wait --local-port 443 --process pythn3",
			`No connections of type "tcp" in status "close_wait" with --process pythn3 and --local-port 443 found.`,
		},
		{
			"--remote-address 10.0.0.0/8 --remote-address !10.1.0.0/16 --local-port 8000-8100,!8080",
			`No connections of type "all" in status "all" with --local-port 8000-8100,!8080 and --remote-address 10.0.0.0/8,!10.1.0.0/16 found.`,
		},
		{"--process not:java --local-port !22", `No connections of type "all" in status "all" with --process not:java and --local-port !22 found.`},
		{"--direction in,out --user 0", `No connections of type "all" in status "all" with --user 0 and --direction in,out found.`},
		{"--min-idle 5m --local-port 22", `No connections of type "all" in status "all" with --local-port 22 and --min-idle 5m found.`},
		{"--process a<b>|c=1", `No connections of type "all" in status "all" with --process a‹b›_c=1 found.`},
	} {
		if strings.Contains(test.arguments, "--min-idle") && thisSystem != "linux" {
			continue
		}
		if output, code := replyTo(t, nil, strings.Fields(test.arguments)...); code != 0 || output != "[OK] - "+test.text+"\n" {
			t.Errorf("%s: got %d %s", test.arguments, code, output)
		}
	}
}

// Where CRITICAL holds for all that WARNING holds for, one of them is a mistake.
func TestWarningThatIsNeverReachedIsTold(t *testing.T) {
	const note = "WARNING is never reached"
	for arguments, where := range map[string]string{
		"-w 10 -c 5": ":", "-w 10 -c 10": ":", "-w 5:20 -c 6:19": ":", "-w 5: -c 10:": ":", "-w ~:10 -c 5": ":",
		"-w 5 -c 10": "", "-w 10: -c 5:": "", "-w 5:20 -c 4:19": "", "-w @10:20 -c 5": "", "-w 10 -c @5": "", "-w 10": "", "-c 5": "", "-w 5 -c ~:5": "",
		"-w tcp=10 -c tcp=5": " for tcp:", "-w Close-Wait=10,tcp=5 -c close_wait=5,tcp=6": " for close_wait:", "-w total=10 -c total=5": " for total:", "-w tcp=10 -c 5": "", "-w 10 -c tcp=5": "",
	} {
		output, _ := replyTo(t, socketsOf("tcp LISTEN"), append(strings.Fields(arguments), "-v", "--no-details")...)
		if where != "" && !strings.Contains(output, note+where+" the range of CRITICAL lies within that of WARNING\n") || strings.Count(output, note) != min(len(where), 1) {
			t.Errorf("%s: got %s", arguments, output)
		}
		if output, _ = replyTo(t, socketsOf("tcp LISTEN"), strings.Fields(arguments)...); strings.Contains(output, note) {
			t.Errorf("%s: told without being asked: %s", arguments, output)
		}
	}
}

func TestAUnitNamedInPartIsToldToBeNamedInFull(t *testing.T) {
	for unit, mustTell := range map[string]bool{"nginx": true, "not:sshd.service,nginx": true, "nginx.service": false, "nginx*": false, "not:nginx": false, "-": false} {
		config := &options{}
		one, err := parseFilter(byUnit, []string{unit})
		if err != nil {
			t.Fatal(err)
		}
		config.question.filters = append(config.question.filters, one)
		lines := notes(config, reading{counts: newCounter([]*tally{config.question.tally(nil)})}, nil, "")
		if got := slices.Contains(lines, "--unit: services are named in full, as in nginx.service"); got != mustTell {
			t.Errorf("%s: got %q", unit, lines)
		}
	}
}

func TestNotesSayHowItWasRead(t *testing.T) {
	one := (&question{}).tally(nil)
	found := reading{counts: newCounter([]*tally{one}), sources: []string{sourceNetlink, sourceGopsutil}}
	found.counts.add(socketOf("tcp LISTEN"))
	refused := failure{"tcp6", sourceNetlink, fmt.Errorf("no luck")}
	found.failures = []failure{refused, refused, {"udp", sourceNetlink, fmt.Errorf("no more")}}
	for _, test := range []struct{ arguments, want string }{
		{"", ""},
		{"--source gopsutil", "gopsutil is for comparing: " + gopsutilLacks(thisSystem)},
		{"-v", "1 socket counted, read from netlink and gopsutil in 2 ms (netlink tcp6: no luck; netlink udp: no more)"},
	} {
		if got := strings.Join(notes(configOf(t, strings.Fields(test.arguments)...), found, nil, "2 ms"), "\n"); got != test.want {
			t.Errorf("%s: got %s", test.arguments, got)
		}
	}
	found.failures, found.sources = nil, []string{sourceNetlink, sourceTotals}
	if got, want := fmt.Sprint(notes(configOf(t, "-v"), found, nil, "2 ms")), "[1 socket counted, read from "+sourceTotals+" in 2 ms]"; got != want {
		t.Errorf("got %s", got)
	}
	found.sources = nil
	if got := notes(configOf(t), found, nil, "2 ms"); got != nil {
		t.Errorf("got %q", got)
	}
	if got := fmt.Sprint(notes(configOf(t, "-v"), found, nil, "2 ms")); got != "[1 socket counted, read from nowhere in 2 ms]" {
		t.Errorf("got %s", got)
	}
}
