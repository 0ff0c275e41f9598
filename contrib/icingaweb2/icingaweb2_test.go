//go:build linux

// Package icingaweb2_test lets the modules of Icinga Web read the graphs in this
// folder.
package icingaweb2_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"check_network_connections/contrib/e2e"
)

func TestMain(m *testing.M) {
	code := m.Run()
	e2e.Cleanup()
	os.Exit(code)
}

// Every label that the check prints has a curve in one of the graphs.
func TestGraphiteModuleHasACurveForEveryLabel(t *testing.T) {
	const module = "/usr/share/icingaweb2/modules/graphite"
	e2e.Need(t, "icingaweb2-module-graphite php-cli", "php")
	if _, err := os.Stat(module); err != nil {
		e2e.Skip(t, module+" is missing: apt-get install icingaweb2-module-graphite")
	}
	output, err := exec.Command(e2e.Plugin(t), "--zero", "--warning=limits=100,timewait=100,total=1000000").Output()
	if err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	const prefix = "icinga2.web1.services.connections.check_network_connections.perfdata."
	var labels, metrics []string
	for _, match := range regexp.MustCompile(`(\w+)=[0-9.]+[%;]`).FindAllStringSubmatch(string(output), -1) {
		labels = append(labels, match[1])
		metrics = append(metrics, prefix+match[1]+".value")
	}
	if len(labels) < 30 {
		t.Fatalf("the check printed only the labels %v", labels)
	}

	configuration := e2e.Folder(t)
	if err := os.MkdirAll(filepath.Join(configuration, "modules", "graphite"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(configuration, "config.ini"), []byte("[global]\nmodule_path = "+filepath.Dir(module)+"\n[logging]\nlog = none\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	php := exec.Command("php", "-d", "include_path=/usr/share/php", "testdata/curves.php", "network_connections_graphite.ini", "check_network_connections")
	php.Env = append(os.Environ(), "CONFIGURATION="+configuration)
	php.Stdin = strings.NewReader(strings.Join(metrics, "\n"))
	var errors strings.Builder
	php.Stderr = &errors
	found, err := php.Output()
	if err != nil {
		t.Fatalf("%v: %s%s", err, found, &errors)
	}
	for i, metric := range metrics {
		if count := strings.Count("\n"+string(found), "\n"+metric+" network_connections-"); count != 1 {
			t.Errorf("%s has %d curves, want 1", labels[i], count)
		}
	}
}

// The module for Grafana finds the dashboard and its panels, by the service's name or
// by the command's.
func TestGrafanaModuleFindsThePanels(t *testing.T) {
	content, err := os.ReadFile("network_connections_grafana.ini")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("../grafana/network_connections.json")
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		UID    string
		Panels []struct {
			ID    int
			Title string
		}
	}
	if err := json.Unmarshal(text, &board); err != nil {
		t.Fatal(err)
	}
	var sections []string
	for _, section := range regexp.MustCompile(`(?m)^\[(.+)\]\n((?:\w+ = ".*"\n)+)`).FindAllStringSubmatch(string(content), -1) {
		sections = append(sections, section[1])
		options := map[string]string{}
		for _, option := range regexp.MustCompile(`(?m)^(\w+) = "(.*)"$`).FindAllStringSubmatch(section[2], -1) {
			options[option[1]] = option[2]
		}
		if options["dashboarduid"] != board.UID {
			t.Errorf("%s: the dashboard is %q, want %q", section[1], options["dashboarduid"], board.UID)
		}
		var titles []string
		for _, id := range strings.Split(options["panelId"], ",") {
			for _, panel := range board.Panels {
				if strconv.Itoa(panel.ID) == id {
					titles = append(titles, panel.Title)
				}
			}
		}
		want := []string{"Limits", "CLOSE_WAIT over time", "TCP over IPv4, by status", "TCP over IPv6, by status"}
		if !slices.Equal(titles, want) {
			t.Errorf("%s: the panels are %q, want %q", section[1], titles, want)
		}
	}
	if want := []string{"network-connections", "network_connections", "network_connections_windows", "check_network_connections", "check_network_connections-windows"}; !slices.Equal(sections, want) {
		t.Errorf("the sections are %q, want %q", sections, want)
	}
}
