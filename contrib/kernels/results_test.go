//go:build linux

package kernels_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

var (
	release = regexp.MustCompile(`(?m)^=== KERNEL (\S+)$`)
	verdict = regexp.MustCompile(`(?m)^\s*--- (PASS|FAIL|SKIP): (\S+) \(`)
)

// judge says what is wrong with what a machine printed: every run must have
// begun and ended well on the right kernel, every pattern must have matched a
// test that passed, and nothing else may have been skipped than was expected.
func judge(version string, runs []run, console string) (problems []string) {
	if found := release.FindStringSubmatch(console); found == nil || !strings.HasPrefix(found[1], version+".") {
		problems = append(problems, fmt.Sprintf("the kernel %q is not Linux %s", found, version))
	}
	for _, r := range runs {
		name := strings.Join([]string{r.stage, r.user, r.binary}, " ")
		_, output, begun := strings.Cut(console, "\n=== BEGIN "+name+"\n")
		output, rest, ended := strings.Cut(output, "\n=== END "+name+" ")
		code, _, _ := strings.Cut(rest, "\n")
		if !begun || !ended || code != "0" {
			problems = append(problems, fmt.Sprintf("%s: begun %t, ended %t, exit code %q", name, begun, ended, code))
		}
		for _, problem := range r.judge(output) {
			problems = append(problems, name+": "+problem)
		}
	}
	return problems
}

// judge says what is wrong with the output of one run.
func (r run) judge(output string) (problems []string) {
	passed := map[string]bool{}
	for _, found := range verdict.FindAllStringSubmatch(output, -1) {
		switch result, test := found[1], found[2]; {
		case result == "PASS":
			passed[test] = true
		case result == "SKIP" && r.skips != "" && regexp.MustCompile(r.skips).MatchString(test):
			passed[test] = true
		default:
			problems = append(problems, result+" "+test)
		}
	}
	for _, pattern := range r.tests {
		if !matches(pattern, passed) {
			problems = append(problems, "no test passed that is "+pattern)
		}
	}
	return problems
}

func matches(pattern string, tests map[string]bool) bool {
	whole := regexp.MustCompile("^(" + pattern + ")$")
	for test := range tests {
		if whole.MatchString(test) {
			return true
		}
	}
	return false
}

func TestOnlyAMachineThatDidItAllIsBelieved(t *testing.T) {
	runs := []run{
		{"whole", "root", "inside", []string{"TestA", "TestB.*"}, "/as_ss$"},
		{"whole", "nobody", "inside", []string{"TestA"}, ""},
	}
	const good = `Booting
=== KERNEL 6.1.0-50-s390x
=== BEGIN whole root inside
=== RUN   TestA
--- PASS: TestA (0.00s)
    --- SKIP: TestA/as_ss (0.00s)
--- PASS: TestBoth (0.00s)
PASS
=== END whole root inside 0
=== BEGIN whole nobody inside
--- PASS: TestA (0.00s)
PASS
=== END whole nobody inside 0
`
	if problems := judge("6.1", runs, good); len(problems) != 0 {
		t.Errorf("all is well: %q", problems)
	}
	if problems := judge("6.12", runs, good); len(problems) == 0 {
		t.Error("6.1 is not 6.12")
	}
	for name, change := range map[string][2]string{
		"a failure":               {"--- PASS: TestBoth", "--- FAIL: TestBoth"},
		"a failure deep inside":   {"PASS\n=== END whole nobody", "        --- FAIL: TestA/one (0.00s)\nPASS\n=== END whole nobody"},
		"a skip":                  {"--- PASS: TestBoth", "--- SKIP: TestBoth"},
		"another part skipped":    {"TestA/as_ss", "TestA/other"},
		"a skip of another user":  {"inside\n--- PASS: TestA", "inside\n    --- SKIP: TestA/as_ss (0.00s)\n--- PASS: TestA"},
		"a test that did not run": {"--- PASS: TestBoth (0.00s)\n", ""},
		"a bad end":               {"root inside 0", "root inside 2"},
		"an early end":            {good[strings.Index(good, "=== END whole nobody"):], ""},
		"a run that is missing":   {good[strings.Index(good, "=== BEGIN whole nobody"):], ""},
		"no kernel":               {"=== KERNEL", "KERNEL"},
	} {
		changed := strings.Replace(good, change[0], change[1], 1)
		if problems := judge("6.1", runs, changed); len(problems) == 0 {
			t.Errorf("%s goes unnoticed", name)
		}
	}
	if problems := judge("6.1", runs, ""); len(problems) == 0 {
		t.Error("nothing at all goes unnoticed")
	}
}
