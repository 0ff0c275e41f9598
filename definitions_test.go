package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// The definitions that are compared with the flags.
const (
	icinga2File            = "contrib/icinga2/network_connections.conf"
	directorFile           = "contrib/director/check_network_connections.json"
	directorCommand        = "check_network_connections"
	directorWindowsCommand = "check_network_connections-windows"
)

// noDebug is left out of definitions: it would print in front of the result.
const noDebug = "--debug"

// flagNames returns the flags of the program, but for those that ask for a text
// in place of a check.
func flagNames() []string {
	var names []string
	newFlags(&options{}).VisitAll(func(flag *pflag.Flag) {
		if flag.Name != "help" && flag.Name != "version" {
			names = append(names, "--"+flag.Name)
		}
	})
	slices.Sort(names)
	return names
}

func flagNamesWithout(dropped ...string) []string {
	return slices.DeleteFunc(flagNames(), func(name string) bool { return slices.Contains(dropped, name) })
}

func TestIcinga2CommandHasEveryFlag(t *testing.T) {
	content, err := os.ReadFile(icinga2File)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, match := range regexp.MustCompile(`(?m)^\s*"(--[a-z-]+)" = `).FindAllSubmatch(content, -1) {
		names = append(names, string(match[1]))
	}
	slices.Sort(names)
	if want := flagNamesWithout(noDebug); !slices.Equal(names, want) {
		t.Errorf("got  %v\nwant %v", names, want)
	}
}

func TestDirectorCommandsHaveEveryFlag(t *testing.T) {
	content, err := os.ReadFile(directorFile)
	if err != nil {
		t.Fatal(err)
	}
	var basket struct {
		Command map[string]struct {
			Arguments map[string]any `json:"arguments"`
		}
	}
	if err := json.Unmarshal(content, &basket); err != nil {
		t.Fatal(err)
	}
	for command, want := range map[string][]string{
		directorCommand:        flagNamesWithout(noDebug),
		directorWindowsCommand: flagNamesWithout(append(linuxFlags, noDebug)...),
	} {
		var names []string
		for name := range basket.Command[command].Arguments {
			names = append(names, name)
		}
		slices.Sort(names)
		if !slices.Equal(names, want) {
			t.Errorf("%s: got  %v\nwant %v", command, names, want)
		}
	}
}

func TestDefinitionsHaveNoOtherFlags(t *testing.T) {
	files := []string{"README.md", "SECURITY.md", "CHANGELOG.md"}
	for _, pattern := range []string{"contrib/nagios/*.cfg", "contrib/nrpe/*.cfg", "contrib/icinga2/*.conf"} {
		matches, err := filepath.Glob(pattern)
		if err != nil || len(matches) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		files = append(files, matches...)
	}
	known := append(flagNames(), "--help", "--version")
	flag := regexp.MustCompile(`(?:^|[\s"'(\x60])(--[a-z][a-z-]+)`)
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(content)) {
			if !strings.Contains(file, ".cfg") && !strings.Contains(file, ".conf") && !strings.Contains(line, "check_network_connections ") && !strings.Contains(line, "go run . ") {
				continue // flags of other programs
			}
			for _, match := range flag.FindAllStringSubmatch(line, -1) {
				if !slices.Contains(known, match[1]) {
					t.Errorf("%s: there is no %s: %s", file, match[1], line)
				}
			}
		}
	}
}
