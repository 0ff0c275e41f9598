package main

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// The help stands in one of the pages, wherever it fits best.
func TestHelpInReadmeIsTheProgramsOwn(t *testing.T) {
	pages, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range append(pages, "README.md") {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(content), "```text\n"+usage()+"```\n") {
			return
		}
	}
	t.Errorf("README.md or a page under docs/ must show this in a text block:\n%s", usage())
}

func TestHelpFitsAScreenAndNamesTheRecommendedCall(t *testing.T) {
	for line := range strings.Lines(usage()) {
		if len(line) > 101 {
			t.Errorf("%d letters: %s", len(line), line)
		}
	}
	if !strings.Contains(usage(), " "+recommendedFor(thisSystem)+"\n") {
		t.Errorf("the help does not have %s", recommendedFor(thisSystem))
	}
	if got := recommendedFor("windows"); got != "-w close_wait=50 -c close_wait=500" {
		t.Errorf("got %s", got)
	}
	if thisSystem != "linux" {
		t.Skip("other systems have no limits")
	}
	taken := configOf(t, strings.Fields(recommended)...).levels
	for _, name := range []string{"close_wait", "limits"} {
		if taken.warning.first(name) == nil || taken.critical.first(name) == nil {
			t.Errorf("%s: got %v, %v", name, taken.warning, taken.critical)
		}
	}
}

// Each dimension that can be filtered by has a flag of its name.
func TestEveryFilterHasAFlag(t *testing.T) {
	flags := newFlags(&options{})
	filters := 0
	for _, d := range dimensions {
		flag := flags.Lookup(d.name)
		if (flag != nil) != (d.item != nil) && d != byNetns {
			t.Errorf("%s: got %v", d.name, flag)
		}
		if d.item != nil {
			filters++
		}
	}
	if filters != 8 {
		t.Errorf("%d filters", filters)
	}
}

func TestUnknownFlagsGetASuggestion(t *testing.T) {
	for typed, want := range map[string]string{
		"--wraning=5": `unknown flag "--wraning": did you mean --warning?`, "--critcal": `unknown flag "--critcal": did you mean --critical?`,
		"--port=443": `unknown flag "--port": did you mean --local-port?`, "--dport": `unknown flag "--dport": did you mean --remote-port?`,
		"--group-by=user": `unknown flag "--group-by": did you mean --by?`, "--conn-state=listen": `unknown flag "--conn-state": did you mean --conn-status?`,
		"--state": `unknown flag "--state": did you mean --conn-status?`, "--type": `unknown flag "--type": did you mean --conn-type?`,
		"--container=web": `unknown flag "--container": did you mean --unit?`, "--perfdata": `unknown flag "--perfdata": did you mean --no-perfdata?`,
		"--nonsense": `unknown flag "--nonsense": see --help`, "--conn": `unknown flag "--conn": it may be --conn-type or --conn-status`, "--no=5": `unknown flag "--no": it may be --no-details or --no-perfdata`, "--not": `unknown flag "--not": see --help`,
		"-x": `unknown flag "-x": see --help`, "-H": "there is no -H: the check looks at this host only, leave it out",
		"--hostname":  "there is no --hostname: the check looks at this host only, leave it out",
		"-Hlocalhost": "there is no -H: the check looks at this host only, leave it out", "-vH": "there is no -H: the check looks at this host only, leave it out",
	} {
		if _, err := parseArguments([]string{typed}); err == nil || err.Error() != want {
			t.Errorf("%s: got %v", typed, err)
		}
	}
	for _, name := range otherNames {
		if newFlags(&options{}).Lookup(name) == nil {
			t.Errorf("--%s is suggested, and there is none", name)
		}
	}
}

func TestUniqueBeginningsOfFlagsWillDo(t *testing.T) {
	for _, test := range []struct{ typed, whole string }{
		{"--warn 5 --crit 7", "--warning 5 --critical 7"},
		{"--no-perf --no-d --al", "--no-perfdata --no-details --always-ok"},
		{"--conn-st listen --conn-t=tcp", "--conn-status listen --conn-type tcp"},
		{"--verb --de --ti 5", "--verbose --debug --timeout 5"},
		{"--local-p 80 --remote-a 10.0.0.1 --pr java --dir in", "--local-port 80 --remote-address 10.0.0.1 --process java --direction in"},
		{"--tes=testdata/empty.json", "--test testdata/empty.json"},
	} {
		got, want := configOf(t, strings.Fields(test.typed)...), configOf(t, strings.Fields(test.whole)...)
		if describe(got) != describe(want) {
			t.Errorf("%s: got  %s\nwant %s", test.typed, describe(got), describe(want))
		}
	}
	for _, typed := range []string{"--conn", "--no", "--t", "--local", "--remote", "--ver", "--w=", "--"} {
		if config, err := parseArguments([]string{typed, "x"}); err == nil {
			t.Errorf("%s is taken: %s", typed, describe(config))
		}
	}
}

// describe returns what a configuration asks for.
func describe(c *options) string {
	text := fmt.Sprint(c.question.types, c.question.statuses, c.levels.by.names(","), c.levels.warning, c.levels.critical, c.top, c.alwaysOK, c.noPerfdata, c.noDetails, c.netns, c.source, c.timeout, c.verbose, c.debug)
	for _, f := range c.question.filters {
		text += " " + f.name + "=" + f.typed
	}
	if c.recording != nil {
		text += " " + c.recording.path
	}
	return text
}

func TestArgumentsWithoutAFlagAreExplained(t *testing.T) {
	const comma, other = ": write lists without a blank after the comma", ": every argument belongs to a flag, see --help"
	for _, test := range []struct{ arguments, want string }{
		{"-w a=1, b=2", `unexpected argument "b=2"` + comma},
		{"-w close_wait=10, tcp=5 -c 7", `unexpected argument "tcp=5"` + comma},
		{"tcp", `unexpected argument "tcp"` + other},
		{"-- --zero", `unexpected argument "--zero"` + other},
	} {
		if _, err := parseArguments(strings.Fields(test.arguments)); err == nil || err.Error() != test.want {
			t.Errorf("%s: got %v", test.arguments, err)
		}
	}
}

func allFlags() (all []*pflag.Flag) {
	newFlags(&options{}).VisitAll(func(flag *pflag.Flag) { all = append(all, flag) })
	return all
}

func TestWhateverIsTypedIsPrintedHarmlessly(t *testing.T) {
	replies := 0
	for _, flag := range allFlags() {
		for _, text := range outsideTexts {
			for _, arguments := range [][]string{{"--" + flag.Name + "=" + text}, {"--" + flag.Name, text}, {"--" + text}, {text}, {"-" + text}} {
				output, code := reply(append(arguments, "--test", "testdata/small-server.json")...)
				if _, err := harmless(output); err != nil || code < 0 || code > 3 {
					t.Errorf("%.100q: %d %v", arguments, code, err)
				}
				replies++
			}
		}
	}
	if replies < 5000 {
		t.Errorf("%d replies", replies)
	}
}

// commandLines yields command lines of real flags with values that may be
// right, from outside, or both. One in as many as lives says is for the live
// system, none with 0; the others are for the recordings, of which the first
// ones come most often.
func commandLines(seed uint64, lives int, recordings []string) iter.Seq[[]string] {
	random := rand.New(rand.NewPCG(seed, seed))
	one := func(list []string) string { return list[random.IntN(len(list))] }
	ranges := []string{"0", "0", "0", "1", "10", "@5:", "~:3", "tcp=1", "close_wait=0,total=5:", "ephemeral=80", "limits=80%", "none", "tcp_listen=1:", "1e308", "0.0001:1e308", "java=1,?=2,-=3", "::1=5", "x:::y=1"}
	portList := []string{"1", "80,443", "1-65535", "!22", "0", "65536"}
	addresses := []string{"10.0.0.0/8", "::/0", "!127.0.0.1", "::ffff:10.0.0.1", "fe80::1%eth0"}
	values := map[string][]string{
		"by":             {"type", "status", "process", "user", "netns", "unit", "direction", "local-address,local-port", "remote-address,remote-port", grouping(dimensions).names(",")},
		"conn-status":    append(slices.Clone(statuses), "closed", "syn-rcvd", "all"),
		"conn-type":      socketTypes,
		"critical":       ranges,
		"local-address":  addresses,
		"local-port":     portList,
		"min-idle":       {"1s", "90m", "1ns", "2562047h", "-1s"},
		"netns":          {"self", "all", "1", "0", "-1", "/proc/self/ns/net", "/etc/passwd", "/dev/zero", "../../etc/passwd"},
		"process":        {"java", "?", "-", "!sshd", "total"},
		"remote-address": addresses,
		"remote-port":    portList,
		"direction":      {"in", "out,listen", "not:in", "-", "?", "both"},
		"unit":           {"nginx.service", "docker-*", "not:ssh.*", "?", "-", ""},
		"source":         sources,
		"test":           recordings,
		"timeout":        {"1", "10", "2147483647", "2147483648", "0", "-1", "9223372036854775808"},
		"top":            {"0", "1", "10", "-1", "9223372036854775807"},
		"user":           {"root", "0", "!nobody", "4294967295", "-1", "?"},
		"warning":        ranges,
	}
	flags := allFlags()
	value := func(flag string) string {
		list := values[flag]
		if len(list) == 0 {
			list = []string{"true", "false", "yes", ""}
		}
		switch random.IntN(40) {
		case 0:
			return one(outsideTexts)
		case 1: // that of another flag
			return one(values[one([]string{"warning", "by", "netns", "test", "min-idle"})])
		case 2: // a list with something from outside in it
			return one(list) + "," + one(outsideTexts) + "," + one(list)
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
				line = append(line, one(outsideTexts))
			}
			if lives == 0 || random.IntN(lives) > 0 {
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
	outside := recordingOfTexts(t, slices.DeleteFunc(slices.Clone(outsideTexts), func(text string) bool { return len(text) > 1<<10 })...)
	return []string{
		"testdata/leaking-server.json", outside, "testdata/every-spelling.json", "testdata/other-families.json", "testdata/empty.json",
		"testdata/empty.json,,1", "testdata", "testdata/README.md", "testdata/none.json,testdata/none",
	}
}

func TestWhateverTheArgumentsOneHarmlessReply(t *testing.T) {
	lines, codes := 0, [4]int{}
	for line := range commandLines(1, 0, allRecordings(t)) {
		output, code := reply(line...)
		if _, err := harmless(output); err != nil || code < 0 || code > 3 {
			t.Fatalf("%.300q: %d %v", line, code, err)
		}
		codes[code]++
		if lines++; lines == 1500 {
			break
		}
	}
	if slices.Min(codes[:]) < 20 {
		t.Errorf("%d command lines with the exit codes %v do not test much", lines, codes)
	}
}
