package packaging_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"check_network_connections/contrib/e2e"
)

func TestManualSaysWhatHelpSays(t *testing.T) {
	file := filepath.Join(e2e.Root(), "packaging", program+".8")
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	page := string(content)
	for _, section := range manualSections(t, help(t)) {
		place := regexp.MustCompile(`(?s)\n\.SH ` + section.heading + `\n(.*?)(\n\.SH |$)`).FindStringSubmatchIndex(page)
		if place == nil {
			t.Fatalf("the manual has no section %s", section.heading)
		}
		if *update {
			page = page[:place[2]] + section.body + page[place[3]:]
			continue
		}
		if got := page[place[2]:place[3]]; got != section.body {
			t.Errorf("%s differs from --help, see the first lines of the manual.\n got:\n%s\nwant:\n%s", section.heading, got, section.body)
		}
	}
	if *update {
		if err := os.WriteFile(file, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// The program itself knows whether what the manual lists is there, and is all.
func TestManualListsStatusesAndLimits(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(e2e.Root(), "packaging", program+".8"))
	if err != nil {
		t.Fatal(err)
	}
	listed := func(heading string) (names []string) {
		section := between(t, string(page), "\n.SH "+heading+"\n", "\n.SH ")
		for _, match := range regexp.MustCompile(`(?m)^\.TP\n\.B (.*)$`).FindAllStringSubmatch(section, -1) {
			names = append(names, match[1])
		}
		return names
	}
	for _, option := range options(t, help(t)) {
		if _, list, found := strings.Cut(option.text, "STATUS: all (default), "); found {
			equal(t, "statuses", listed("STATUSES"), strings.Split(list, ", "))
		}
	}
	limits := listed("LIMITS")
	if len(limits) != 7 {
		t.Errorf("the limits are %v, want 7", limits)
	}
	for _, name := range append(limits, "limits") {
		output, _ := exec.Command(e2e.Plugin(t), "--warning="+name+"=101").Output()
		if !strings.Contains(string(output), name+" is a percentage") {
			t.Errorf("the program does not know the limit %s: %s", name, output)
		}
	}
}

func TestManualIsReadable(t *testing.T) {
	e2e.Need(t, "man-db groff-base", "man", "groff")
	command := exec.Command("man", "--warnings", "--local-file", filepath.Join(e2e.Root(), "packaging", program+".8"))
	command.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "MANWIDTH=100", "MAN_KEEP_FORMATTING=", "GROFF_NO_SGR=1")
	var warnings strings.Builder
	command.Stderr = &warnings
	rendered, err := command.Output()
	if err != nil || warnings.Len() > 0 {
		t.Fatalf("man: %v\n%s", err, warnings.String())
	}
	text := strings.Join(strings.Fields(regexp.MustCompile(".\b").ReplaceAllString(string(rendered), "")), " ")
	for _, option := range options(t, help(t)) {
		if want := strings.Join(strings.Fields(option.flags+" "+option.text), " "); !strings.Contains(text, want) {
			t.Errorf("the reader does not see %q", want)
		}
	}
}

// help returns what --help prints.
func help(t testing.TB) string {
	t.Helper()
	output, _ := exec.Command(e2e.Plugin(t), "--help").Output() // it ends with 3
	if len(output) == 0 {
		t.Fatal("--help prints nothing")
	}
	return string(output)
}

// An option is one entry of the list of flags in --help.
type option struct{ flags, text string }

func options(t testing.TB, help string) []option {
	t.Helper()
	var list []option
	first := regexp.MustCompile(`^ +((?:-\w, )?--\S+(?: \S+)?)(?:   +(.*))?$`)
	for _, line := range strings.Split(between(t, help, "\nFlags:\n", "\n\n"), "\n") {
		if parts := first.FindStringSubmatch(line); parts != nil {
			list = append(list, option{parts[1], parts[2]})
		} else if len(list) == 0 {
			t.Fatalf("--help has a line that is not of a flag: %q", line)
		} else {
			list[len(list)-1].text += " " + strings.TrimSpace(line)
		}
	}
	return list
}

// between returns the part of the text after the one mark and before the
// other.
func between(t testing.TB, text, after, before string) string {
	t.Helper()
	_, text, found := strings.Cut(text, after)
	part, _, foundEnd := strings.Cut(text, before)
	if !found || !foundEnd {
		t.Fatalf("--help has no part between %q and %q", after, before)
	}
	return part
}

type manualSection struct{ heading, body string }

// manualSections returns the help text as sections of a manual page.
func manualSections(t testing.TB, help string) []manualSection {
	t.Helper()
	var flags strings.Builder
	for _, option := range options(t, help) {
		flags.WriteString(".TP\n")
		for index, spelling := range strings.Split(option.flags, ", ") {
			name, value, _ := strings.Cut(spelling, " ")
			if index > 0 {
				flags.WriteString(", ")
			}
			flags.WriteString(`\fB` + escape(name) + `\fR`)
			if value != "" {
				flags.WriteString(` \fI` + escape(value) + `\fR`)
			}
		}
		flags.WriteString("\n" + escape(option.text) + "\n")
	}
	_, rest, _ := strings.Cut(help, "\nFlags:\n")
	_, rest, _ = strings.Cut(rest, "\n\n")
	values, rest, _ := strings.Cut(rest, "\n\nExamples:\n")
	examples, codes, found := strings.Cut(rest, "\n\nExit codes: ")
	if !found {
		t.Fatal("--help has no Examples followed by Exit codes")
	}
	return []manualSection{
		{"DESCRIPTION", escape(between(t, help, "\n\n", "\n\nFlags:\n"))},
		{"OPTIONS", strings.TrimSuffix(flags.String(), "\n")},
		{"VALUES", escape(values)},
		{"EXAMPLES", ".nf\n" + escape(regexp.MustCompile(`(?m)^ +`).ReplaceAllString(examples, "")) + "\n.fi"},
		{"EXIT STATUS", escape(strings.TrimSpace(codes))},
	}
}

// escape returns text that roff prints as it is, with its paragraphs.
func escape(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`, "~", `\(ti`, "^", `\(ha`, "'", `\(aq`, "`", `\(ga`).Replace(text)
	text = regexp.MustCompile(`(?m)^\.`).ReplaceAllString(text, `\&.`)
	return strings.ReplaceAll(text, "\n\n", "\n.PP\n")
}
