package main

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/NETWAYS/go-check"
	"github.com/shirou/gopsutil/v3/net"
	"github.com/spf13/pflag"
)

// hostileTexts are what others may choose as a name, or as anything else.
var hostileTexts = []string{
	"",
	"   ",
	"a|b=1;2;3;4;5",
	"x\n[OK] - all is well|tcp_LISTEN=1",
	"a\ry\tz\vw\f",
	"'quoted'", `"double"`, "''", "it's=1",
	"a=1", "a;b;c", "|", "=", ";",
	"\x1b[2J\x1b[31mred\x07", "\u009b31mred",
	"\xff\xfe\xfd", "\xed\xa0\x80", "\x00zero",
	"\u202egnp.exe", "\u2066isolated\u2069", "\u061cmark", "\u200b\u200d\ufeff", "\U000e0041",
	"\u00a0\u2028\u2029\u0085",
	"<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "&lt;b&gt;", "</pre>",
	"`reboot`$(reboot)", "$HOSTNAME$", `\n\t\`, "%s%d%n", "../../etc/passwd",
	"a, b: 5 [CRITICAL]", "a: 5, tcp LISTEN: 7", "[OK] - fine", "(+3 more: 9)", "(always ok)",
	"total", "TOTAL", "ephemeral", "ephemeral_ports", "?", "-", " ? ",
	"x::y", ":::", "check_multi::plugin::label",
	"ünïcödé", "漢字", "שלום", "e\u0301",
	strings.Repeat("|b\n", 64<<10/3), strings.Repeat("漢", 64<<10/3),
}

// The forms of an item in a first line. What others have chosen has nothing in
// it that could end an item or begin another one.
var (
	groupItem = regexp.MustCompile(`^[^,;=|'"` + "`" + `<>&\\{}$]+: ([0-9]+)( \[(?:WARNING|CRITICAL)\])?( \(\+[0-9]+ more: [0-9]+\))?$`)
	portsItem = regexp.MustCompile(`^ephemeral ports: ([0-9]+)% of [0-9]+( to [0-9a-f:.\[\]]+:[0-9]+)?( in [^,;=|'"` + "`" + `<>&\\{}$\[\]]+)?( \[(?:WARNING|CRITICAL)\])?$`)
	restItem  = regexp.MustCompile(`^\(\+[0-9]+ more: [0-9]+\)$`)
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
// of the performance data, in its order and with its values.
func matchItems(text string, metrics []metric, hasPerfdata bool) error {
	text = strings.TrimSuffix(text, " (always ok)")
	if strings.HasPrefix(text, "No connections of type ") {
		text = ""
	}
	labels := map[string]bool{}
	for item := range strings.SplitSeq(text, ", ") {
		if text == "" || restItem.MatchString(item) {
			continue
		}
		value := portsItem.FindStringSubmatch(item)
		if value == nil {
			value = groupItem.FindStringSubmatch(item)
		}
		switch {
		case value == nil:
			return fmt.Errorf("%.300q is no item in %.300q", item, text)
		case !hasPerfdata:
			continue
		case len(metrics) == 0:
			return fmt.Errorf("%.300q has no performance data", item)
		}
		m := metrics[0]
		if strconv.Itoa(int(m.value)) != value[1] || labels[m.label] {
			return fmt.Errorf("%.300q has the performance data %.300q %g", item, m.label, m.value)
		}
		labels[m.label] = true
		metrics = metrics[1:]
	}
	if len(metrics) > 0 {
		return fmt.Errorf("performance data without an item: %s", metricsText(metrics))
	}
	return nil
}

// hostileNames are the names of processes and users, numbered from 1, as those
// of the live system come: cleaned.
type hostileNames []string

func (n hostileNames) process(pid int32) string       { return outsideName(n[pid-1]) }
func (n hostileNames) user(uid int64, _ int32) string { return outsideName(n[uid-1]) }

// hostileParts returns a socket for each of the texts, where everything that
// can have a name has that text.
func hostileParts(texts []string) []part {
	var parts []part
	for i, text := range texts {
		address := net.Addr{IP: text, Port: uint32(i + 1)}
		record := net.ConnectionStat{
			Family: afInet, Type: sockStream, Status: text, Laddr: address, Raddr: address,
			Pid: int32(i + 1), Uids: []int32{int32(i + 1)},
		}
		parts = append(parts, part{
			name: "tcp", netns: outsideName(text), names: hostileNames(texts),
			sources: []source{{"the test", func(yield func(net.ConnectionStat, error) bool) { yield(record, nil) }}},
		})
	}
	return parts
}

// reportOf returns the state and the output for the sockets in the parts, and
// the groups in it.
func reportOf(t testing.TB, parts []part, arguments ...string) (state check.Status, output string, groups []Group) {
	t.Helper()
	config, err := parseArguments(arguments)
	if err != nil {
		t.Fatal(err)
	}
	read := func(Config) []part { return parts }
	reading, err := count(parts, config)
	if err != nil {
		t.Fatal(err)
	}
	items := judge(reading.Groups, nil, config)
	lines, err := culprits(read, worstGroups(items), config)
	if err != nil {
		t.Fatal(err)
	}
	state, output = report(items, append(lines, notes(reading, "1 ms", config)...), config)
	return state, output, reading.Groups
}

// mustBeTheGroups fails the test unless the output is harmless and its
// performance data has all of the groups, or those that fit, with their labels
// and counts.
func mustBeTheGroups(t testing.TB, output string, groups []Group) {
	t.Helper()
	metrics, err := harmless(output)
	if err != nil {
		t.Error(err)
		return
	}
	if !strings.Contains(output, " more: ") && len(metrics) != len(groups) {
		t.Errorf("%d groups, but %s", len(groups), metricsText(metrics))
	}
	for _, m := range metrics {
		if !slices.ContainsFunc(groups, func(g Group) bool { return g.Label == m.label && float64(g.Count) == m.value }) {
			t.Errorf("no group has the label %q and %g sockets", m.label, m.value)
		}
	}
}

var hostileDimensions = []string{"process", "user", "netns", "status", "local-address", "remote-address"}

func TestHostileNamesAreNamesOfOneGroup(t *testing.T) {
	for _, dimension := range hostileDimensions {
		t.Run(dimension, func(t *testing.T) {
			for _, text := range hostileTexts {
				state, output, groups := reportOf(t, hostileParts([]string{text}), "--by", dimension, "-w", "0", "-v")
				if len(groups) != 1 || groups[0].Count != 1 || state != check.Warning {
					t.Errorf("%.50q: %v %v", text, state, groups)
				}
				mustBeTheGroups(t, output, groups)
			}
		})
	}
	t.Run("all at once", func(t *testing.T) {
		parts := hostileParts(hostileTexts)
		for _, by := range append(hostileDimensions, strings.Join(hostileDimensions, ","), "local-address,local-port,remote-address,remote-port,process") {
			for _, more := range []string{"--top=0", "--always-ok", "--critical=0"} {
				_, output, groups := reportOf(t, parts, "--by", by, "-w", "0", "-v", more)
				mustBeTheGroups(t, output, groups)
			}
			_, output, _ := reportOf(t, parts, "--by", by, "-w", "0", "-v", "--no-perfdata")
			if _, err := harmless(output); err != nil {
				t.Error(err)
			}
		}
	})
}

// A name must not be taken for the total, for the ephemeral ports or for what
// cannot be told, nor have a range apply that is meant for those.
func TestHostileNamesAreNotTakenForWhatIsNoGroup(t *testing.T) {
	for _, dimension := range []string{"process", "user", "netns", "status"} {
		for _, name := range []string{"total", "Total", "ephemeral", "ephemeral_ports", "?", "-", " ?"} {
			state, output, groups := reportOf(t, hostileParts([]string{name}), "--by", dimension, "-w", "total=1", "-c", "total=2", "--no-details")
			metrics, err := harmless(output)
			if err != nil || len(metrics) != 2 || state != check.OK {
				t.Errorf("by %s: %v %s %v", dimension, err, output, metricsText(metrics))
				continue
			}
			if metrics[0].warning != nil || metrics[1].warning == nil || groups[0].Label == unseen || groups[0].Label == nothing {
				t.Errorf("by %s: %q is %s", dimension, name, output)
			}
		}
	}
}

// answer returns the exit code and the output that the program would give.
func answer(arguments ...string) (code int, output string) {
	config, err := parseArguments(arguments)
	if err != nil {
		return int(check.Unknown), errorText(err)
	}
	if config.Answer != "" {
		return int(check.Unknown), config.Answer
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	state, output, err := runCheck(ctx, config)
	if err != nil {
		return int(check.Unknown), errorText(err)
	}
	return int(state), output
}

// writeHostileRecording writes a recording that has the texts wherever it can
// have any, and three sockets for each.
func writeHostileRecording(t testing.TB, path string, texts []string) {
	t.Helper()
	var rows []map[string]any
	for i, text := range texts {
		address := map[string]any{"ip": text, "port": 2_000_000_000 + i}
		rows = append(rows,
			map[string]any{"family": 2, "type": 1, "localaddr": address, "remoteaddr": address, "status": text, "uids": []int{-i}, "pid": -i},
			map[string]any{"proto": "tcp6", "status": text},
			map[string]any{"proto": "udp", "status": text})
	}
	content, err := json.Marshal(rows)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestHostileRecordingsArePrintedHarmlessly(t *testing.T) {
	recording := filepath.Join(t.TempDir(), "recording.json")
	judge := func(texts []string, arguments string) {
		writeHostileRecording(t, recording, texts)
		code, output := answer(append(strings.Fields(arguments), "--test", recording)...)
		metrics, err := harmless(output)
		if err != nil || code == 3 {
			t.Errorf("%d texts, %s: %d %v", len(texts), arguments, code, err)
			return
		}
		sockets := 0
		for _, m := range metrics {
			sockets += int(m.value)
		}
		if !strings.Contains(output, " more: ") && sockets != 3*len(texts) {
			t.Errorf("%d texts, %s: %d sockets", len(texts), arguments, sockets)
		}
	}
	for _, arguments := range []string{"", "-w 0", "--by status", "--by status -c 0 --top 0", "--by user,status -w 0", "--by process,local-address,local-port,remote-port -w 0 -v"} {
		judge(hostileTexts, arguments)
	}
	for _, text := range hostileTexts {
		judge([]string{text}, "--by status,local-address -w 0")
	}
}

// The files of a recording may hold anything, and be called anything.
func TestHostileFilesAreNeverShown(t *testing.T) {
	folder := t.TempDir()
	good := filepath.Join(folder, "good.json")
	if err := os.WriteFile(good, []byte("[]"), 0o600); err != nil {
		t.Fatal(err)
	}
	for i, text := range hostileTexts {
		bad := filepath.Join(folder, strconv.Itoa(i))
		name := strings.NewReplacer("/", "", "\x00", "", ",", "").Replace(text)
		if err := os.WriteFile(bad+name, nil, 0o600); err == nil { // not every system takes every name
			bad += name
		}
		if err := os.WriteFile(bad, []byte(text+secret), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, value := range []string{bad, good + "," + bad, bad + "," + good, good + ",," + text + "x", bad + "," + bad + "," + text, folder + text} {
			code, output := answer("--test", value)
			if _, err := harmless(output); err != nil || code != 3 || strings.Contains(output, secret) {
				t.Errorf("--test %.100q: %d %s %v", value, code, output, err)
			}
		}
	}
}

func TestHostileArgumentsArePrintedHarmlessly(t *testing.T) {
	newArguments().FlagSet.VisitAll(func(flag *pflag.Flag) {
		for _, text := range hostileTexts {
			for _, arguments := range [][]string{{"--" + flag.Name + "=" + text}, {"--" + flag.Name, text}, {"--" + text}, {text}, {"-" + text}} {
				code, output := answer(append(arguments, "--test", "testdata/small-server.json")...)
				if _, err := harmless(output); err != nil || code < 0 || code > 3 {
					t.Errorf("%.100q: %d %v", arguments, code, err)
				}
			}
		}
	})
}

// commandLines yields command lines of real flags with values that may be
// right, hostile, or both. One in as many as lives says is for the live system,
// the others are for the recordings, of which the first ones come most often.
func commandLines(seed uint64, lives int, recordings []string) iter.Seq[[]string] {
	random := rand.New(rand.NewPCG(seed, seed))
	one := func(list []string) string { return list[random.IntN(len(list))] }
	ranges := []string{"0", "0", "0", "1", "10", "@5:", "~:3", "tcp=1", "close_wait=0,total=5:", "ephemeral=80", "tcp_listen=1:", "1e308", "0.0001:1e308", "java=1,?=2,-=3", "::1=5", "x:::y=1"}
	ports := []string{"1", "80,443", "1-65535", "!22", "0", "65536"}
	addresses := []string{"10.0.0.0/8", "::/0", "!127.0.0.1", "::ffff:10.0.0.1", "fe80::1%eth0"}
	values := map[string][]string{
		"by":             {"type", "status", "process", "user", "netns", "local-address,local-port", "remote-address,remote-port", joinDimensions(dimensions[:])},
		"conn-status":    append(slices.Clone(statuses), "closed", "syn-rcvd", "all"),
		"conn-type":      socketTypes,
		"critical":       ranges,
		"local-address":  addresses,
		"local-port":     ports,
		"min-idle":       {"1s", "90m", "1ns", "2562047h", "-1s"},
		"netns":          {"self", "all", "1", "0", "-1", "/proc/self/ns/net", "/etc/passwd", "/dev/zero", "../../etc/passwd"},
		"process":        {"java", "?", "-", "!sshd", "total"},
		"remote-address": addresses,
		"remote-port":    ports,
		"source":         sources,
		"test":           recordings,
		"timeout":        {"1", "10", "2147483647", "2147483648", "0", "-1", "9223372036854775808"},
		"top":            {"0", "1", "10", "-1", "9223372036854775807"},
		"user":           {"root", "0", "!nobody", "4294967295", "-1", "?"},
		"warning":        ranges,
	}
	var flags []*pflag.Flag
	newArguments().FlagSet.VisitAll(func(flag *pflag.Flag) { flags = append(flags, flag) })
	value := func(flag string) string {
		list := values[flag]
		if len(list) == 0 {
			list = []string{"true", "false", "yes", ""}
		}
		switch random.IntN(40) {
		case 0:
			return one(hostileTexts)
		case 1: // that of another flag
			return one(values[one([]string{"warning", "by", "netns", "test", "min-idle"})])
		case 2: // a list with something hostile in it
			return one(list) + "," + one(hostileTexts) + "," + one(list)
		case 3: // with a byte that should not be there
			text := []byte(one(list) + " ")
			text[random.IntN(len(text))] = byte(random.IntN(256))
			return string(text)
		}
		return one(list)
	}
	argument := func() []string {
		flag := flags[random.IntN(len(flags))]
		if (flag.Name == "help" || flag.Name == "version") && random.IntN(10) > 0 {
			return nil // they end it all
		}
		switch style := random.IntN(10); {
		case flag.NoOptDefVal != "" && style > 0, style == 1 && random.IntN(5) == 0:
			return []string{"--" + flag.Name}
		case flag.Shorthand != "" && style < 5:
			return []string{"-" + flag.Shorthand + value(flag.Name)}
		case style < 7:
			return []string{"--" + flag.Name, value(flag.Name)}
		}
		return []string{"--" + flag.Name + "=" + value(flag.Name)}
	}
	return func(yield func([]string) bool) {
		for {
			var line []string
			for range random.IntN(5) {
				line = append(line, argument()...)
			}
			if random.IntN(3) == 0 {
				line = append(line, one([]string{"-w", "-c"}), one(ranges))
			}
			if random.IntN(50) == 0 {
				line = append(line, one(hostileTexts))
			}
			if random.IntN(lives) > 0 {
				line = append(line, "--test="+one(recordings[:1+random.IntN(len(recordings))]))
			}
			if !yield(line) {
				return
			}
		}
	}
}

// allRecordings returns recordings of every kind, and files that are none.
func allRecordings(t testing.TB) []string {
	t.Helper()
	hostile := filepath.Join(t.TempDir(), "hostile.json")
	writeHostileRecording(t, hostile, slices.DeleteFunc(slices.Clone(hostileTexts), func(text string) bool { return len(text) > 1<<10 }))
	return []string{
		"testdata/leaking-server.json", hostile, "testdata/every-spelling.json", "testdata/other-families.json", "testdata/empty.json",
		"testdata/empty.json,,1", "testdata", "testdata/README.md", "testdata/none.json,testdata/none",
	}
}

// commandLinesLimit bounds what random command lines take, on a busy machine
// too.
const commandLinesLimit = 8 * time.Second

func TestWhateverTheArgumentsOneHarmlessAnswer(t *testing.T) {
	deadline := time.Now().Add(commandLinesLimit)
	lines, codes := 0, [4]int{}
	for line := range commandLines(1, 200, allRecordings(t)) {
		code, output := answer(line...)
		if _, err := harmless(output); err != nil || code < 0 || code > 3 {
			t.Fatalf("%.300q: %d %v", line, code, err)
		}
		codes[code]++
		if lines++; lines == 5000 || time.Now().After(deadline) {
			break
		}
	}
	t.Logf("%d command lines gave the exit codes 0 to 3 so often: %v", lines, codes)
	if lines < 1000 || slices.Min(codes[:]) < 20 {
		t.Errorf("%d command lines with the exit codes %v do not test much", lines, codes)
	}
}

// A range for a group must find it however its name is spelled, and one without
// a socket must have the label that it has with one.
func TestTypedNamesAreThoseOfTheGroups(t *testing.T) {
	for _, test := range []struct{ by, name, typed, label string }{
		{"process", "kworker/0:1", "kworker/0:1", "kworker/0_1"},
		{"process", "x:::y", "X:::Y", "x___y"},
		{"process", "a b", "a b", "a b"},
		{"remote-address", "fd00::1", "FD00:0::1", "fd00:0:0:0:0:0:0:1"},
		{"remote-address", "fd00::1", "fd00:0:0:0:0:0:0:1", "fd00:0:0:0:0:0:0:1"},
		{"remote-address", "10.0.0.5", "::ffff:10.0.0.5", "10.0.0.5"},
		{"remote-address,remote-port", "fd00::1", "fd00:0::1_1", "fd00:0:0:0:0:0:0:1_1"},
		{"user,remote-address", "10.0.0.5", "10.0.0.5_::ffff:10.0.0.5", "10.0.0.5_10.0.0.5"},
	} {
		for sockets, parts := range [][]part{nil, hostileParts([]string{test.name})} {
			_, output, _ := reportOf(t, parts, "--by", test.by, "-c", test.typed+"=7", "--no-details")
			metrics, err := harmless(output)
			if err != nil || len(metrics) != 1 || !strings.EqualFold(metrics[0].label, test.label) || metrics[0].value != float64(sockets) || metrics[0].critical == nil {
				t.Errorf("by %s, %s, %d sockets: %s %v", test.by, test.typed, sockets, output, err)
			}
		}
	}
}
