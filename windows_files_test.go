package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// linuxFlags are those of which Windows knows nothing.
var linuxFlags = []string{"--min-idle", "--netns", "--unit"}

func TestIcinga2CommandForWindowsHasEveryFlagThatMeansSomethingThere(t *testing.T) {
	content, err := os.ReadFile("contrib/icinga2/network_connections_windows.conf")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, match := range regexp.MustCompile(`(?m)^\s*"(--[a-z-]+)" = `).FindAllSubmatch(content, -1) {
		names = append(names, string(match[1]))
	}
	slices.Sort(names)
	if want := flagNamesWithout(append(linuxFlags, noDebug)...); !slices.Equal(names, want) {
		t.Errorf("got  %v\nwant %v", names, want)
	}
}

// The thresholds are those that --help recommends, without the limits of which
// only Linux tells.
func TestSamplesForWindowsHaveTheRecommendedThresholds(t *testing.T) {
	words := strings.FieldsFunc(recommended, func(r rune) bool { return r == ' ' || r == ',' })
	words = slices.DeleteFunc(words, func(word string) bool {
		name, _, isNamed := strings.Cut(word, "=")
		return !isNamed || isLimit(name)
	})
	for _, file := range []string{"contrib/icinga2/network_connections_windows_services.conf", "contrib/windows/nsclient.ini", "contrib/windows/snclient.ini"} {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, word := range words {
			if !strings.Contains(string(content), word) {
				t.Errorf("%s: %s is missing", file, word)
			}
		}
		if strings.Contains(string(content), "limits=") {
			t.Errorf("%s: only Linux has limits", file)
		}
	}
}

// NSClient++ and SNClient cut a line at its spaces, as this does.
func TestLinesForWindowsAgentsAreUnderstood(t *testing.T) {
	files, _ := filepath.Glob("contrib/windows/*.ini")
	if len(files) != 2 {
		t.Fatalf("found %v", files)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		matches := regexp.MustCompile(`(?m)^(check_[a-z_]+) = \S+\\check_network_connections\.exe (.+)$`).FindAllStringSubmatch(string(content), -1)
		if len(matches) != strings.Count(string(content), "\ncheck_") || len(matches) < 4 {
			t.Errorf("%s: %d of its lines are commands", file, len(matches))
		}
		for _, match := range matches {
			config, err := parseArguments(strings.Fields(match[2]))
			if err != nil {
				t.Errorf("%s: %s: %v", file, match[1], err)
				continue
			}
			for _, flag := range linuxFlags {
				if strings.Contains(match[2], flag) {
					t.Errorf("%s: %s: only Linux has %s", file, match[1], flag)
				}
			}
			for _, name := range limitNames() {
				if config.levels.names(name) {
					t.Errorf("%s: %s: only Linux has the limit %s", file, match[1], name)
				}
			}
		}
	}
}

func TestProgramsOfWindowsAreCalledInAnyCaseWithOrWithoutTheirEnding(t *testing.T) {
	for name, want := range map[string]string{"nginx.exe": "nginx", "NGINX.EXE": "nginx", "Nginx": "nginx", "a.exe.exe": "a.exe", ".exe": ".exe", "?": "?", "System": "system"} {
		if got := comparedName("windows", name); got != want {
			t.Errorf("%s: got %s want %s", name, got, want)
		}
	}
	if got := comparedName("linux", "Nginx.exe"); got != "Nginx.exe" {
		t.Errorf("Linux: got %s", got)
	}
	for name, want := range map[string]string{"Nginx.EXE": "Nginx", "check_network_connections.exe": "check_network_connections"} {
		if got := shortName("windows", name); got != want {
			t.Errorf("%s: got %s want %s", name, got, want)
		}
	}
	if got := shortName("linux", "check_network_connections"); got != "check_network_c" {
		t.Errorf("Linux: got %s", got)
	}
}

func TestBackslashesStayInWhatIsTypedOnWindows(t *testing.T) {
	const typed = `C:\out|put "new".json`
	for system, want := range map[string]string{"windows": `C:\out_put _new_.json`, "linux": "C:_out_put _new_.json"} {
		if got := cleaned(typed, harmfulTyped(system)); got != want {
			t.Errorf("%s: got %s want %s", system, got, want)
		}
	}
}
