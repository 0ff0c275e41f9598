package main

import (
	"iter"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

func TestHelpInReadmeIsTheProgramsOwn(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(readme), "```text\n"+usage()+"```\n") {
		t.Errorf("README.md must show this in a text block:\n%s", usage())
	}
}

// Each dimension that can be filtered by has a flag of its name.
func TestEveryFilterHasAFlag(t *testing.T) {
	flags := newFlags(&Config{})
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
	if filters != 6 {
		t.Errorf("%d filters", filters)
	}
}

func allFlags() (all []*pflag.Flag) {
	newFlags(&Config{}).VisitAll(func(flag *pflag.Flag) { all = append(all, flag) })
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
	ranges := []string{"0", "0", "0", "1", "10", "@5:", "~:3", "tcp=1", "close_wait=0,total=5:", "ephemeral=80", "tcp_listen=1:", "1e308", "0.0001:1e308", "java=1,?=2,-=3", "::1=5", "x:::y=1"}
	ports := []string{"1", "80,443", "1-65535", "!22", "0", "65536"}
	addresses := []string{"10.0.0.0/8", "::/0", "!127.0.0.1", "::ffff:10.0.0.1", "fe80::1%eth0"}
	values := map[string][]string{
		"by":             {"type", "status", "process", "user", "netns", "local-address,local-port", "remote-address,remote-port", grouping(dimensions).names(",")},
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
