//go:build linux

// Package nagios_test lets a real Nagios Core run the commands and the sample
// services in this folder.
package nagios_test

import (
	_ "embed"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"check_network_connections/contrib/e2e"
)

var (
	//go:embed check_network_connections.cfg
	commandsFile string
	//go:embed check_network_connections_services.cfg
	servicesFile string
	//go:embed testdata/nagios.cfg
	mainFile string
	//go:embed testdata/host.cfg
	hostFile string
)

func TestMain(m *testing.M) {
	code := m.Run()
	e2e.Cleanup()
	os.Exit(code)
}

func TestDefinitionsNameOnlyFlagsThatExist(t *testing.T) {
	var flags []string
	for _, flag := range e2e.Flags(t) {
		flags = append(flags, flag.Name)
	}
	for _, used := range regexp.MustCompile(`--([a-z-]+)`).FindAllStringSubmatch(commandsFile+servicesFile, -1) {
		if !slices.Contains(flags, used[1]) {
			t.Errorf("the program has no flag --%s", used[1])
		}
	}
}

func TestSampleHasTheRecommendedThresholds(t *testing.T) {
	warning, critical := e2e.Recommended(t)
	command := "check_network_connections_ranges!" + strings.Join(warning, ",") + "!" + strings.Join(critical, ",") + "\n"
	if !strings.Contains(servicesFile, command) {
		t.Errorf("the services lack %s", command)
	}
}

// A stand-in for the program tells the command line that it was called with.
func TestArgumentsReachTheCommandLine(t *testing.T) {
	tests := map[string]struct {
		command string
		want    []string
	}{
		"plain":           {`check_network_connections`, nil},
		"ranges":          {`check_network_connections_ranges!close_wait=50,limits=80!@10:20`, []string{"--warning=close_wait=50,limits=80", "--critical=@10:20"}},
		"no ranges":       {`check_network_connections_ranges`, []string{"--warning=", "--critical="}},
		"one range":       {`check_network_connections_ranges!!listen=1:!--conn-status=listen`, []string{"--warning=", "--critical=listen=1:", "--conn-status=listen"}},
		"ranges and more": {`check_network_connections_ranges!~:10!~:50!--conn-status=close_wait --min-idle=5m`, []string{"--warning=~:10", "--critical=~:50", "--conn-status=close_wait", "--min-idle=5m"}},
		"one flag":        {`check_network_connections_flags!--zero`, []string{"--zero"}},
		"eight flags": {`check_network_connections_flags!-w 1!-c 2!--conn-type tcp!--by=process!--top 0!--no-perfdata!--no-details!-t 10`,
			[]string{"-w", "1", "-c", "2", "--conn-type", "tcp", "--by=process", "--top", "0", "--no-perfdata", "--no-details", "-t", "10"}},
		"excluded port":    {`check_network_connections_flags!--local-port=not:22!--warning='~:200'`, []string{"--local-port=not:22", "--warning=~:200"}},
		"excluded process": {`check_network_connections_flags!--by=process!--process='not:nginx*'`, []string{"--by=process", "--process=not:nginx*"}},
		"leaks":            {`check_network_connections_leaks!50!500`, []string{"--conn-status=close_wait", "--min-idle=5m", "--zero", "--warning=close_wait=50", "--critical=close_wait=500"}},
		"limits":           {`check_network_connections_limits!80!95`, []string{"--warning=limits=80", "--critical=limits=95"}},
		"port":             {`check_network_connections_port!443`, []string{"--conn-status=listen", "--by=local-port", "--local-port=443", "--critical=443=1:"}},
		"through NRPE":     {`check_nrpe_network_connections!check_network_connections_leaks`, []string{"-H", "127.0.0.1", "-t", "40:UNKNOWN", "-c", "check_network_connections_leaks"}},
	}

	plugins := e2e.Folder(t)
	for _, name := range []string{"check_network_connections", "check_nrpe"} {
		write(t, filepath.Join(plugins, name), "#!/bin/sh\nprintf '%s\\n' called \"$@\"\n", 0o755)
	}
	services := ""
	for name, test := range tests {
		services += service(name, test.command)
	}
	results := run(t, plugins, commandsFile+services, len(tests))
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			result := results["localhost!"+name]
			output := result["plugin_output"] + `\n` + result["long_plugin_output"]
			line, called := strings.CutPrefix(strings.TrimSuffix(strings.TrimSuffix(output, `\n`), `\n`), "called")
			if got := strings.Split(line, `\n`)[1:]; !called || !slices.Equal(got, test.want) {
				t.Errorf("the output %q tells the command line\n%q\nwant\n%q", output, got, test.want)
			}
		})
	}
}

func TestServicesReportTheSocketsOfThisMachine(t *testing.T) {
	commands := strings.Replace(commandsFile, "check_nrpe -H", fmt.Sprintf("check_nrpe -p %d -H", e2e.NRPE(t, "")), 1)

	// The sample services once somebody has asked for all of them, and one that sees
	// nothing but the connections of this test.
	port := e2e.Connections(t)
	closed := strconv.Itoa(e2e.FreePort(t))
	services := regexp.MustCompile(`(?m)^ *register +0\n`).ReplaceAllString(servicesFile, "") +
		hostGroup + service("exact",
		fmt.Sprintf("check_network_connections_ranges!tcp_established=2!tcp_established=1000!--remote-port=%d", port))
	services = strings.ReplaceAll(services, "check_network_connections_port!22", "check_network_connections_port!"+closed)
	plugins := e2e.Folder(t)
	for _, program := range []string{e2e.Plugin(t), e2e.PluginFolder + "/check_nrpe"} {
		if err := os.Symlink(program, filepath.Join(plugins, filepath.Base(program))); err != nil {
			t.Fatal(err)
		}
	}
	results := run(t, plugins, commands+services, 6)

	e2e.ExpectConnections(t, results["localhost!exact"], port)
	const limits = `ephemeral_ports=[0-9.]+%;80;95;0;100 backlog=[0-9.]+%;80;95;0;100 .*open_files=[0-9.]+%;80;95;0;100$`
	for name, want := range map[string]struct{ state, perfdata string }{
		"Network connections":              {"[012]", limits},
		"Network connections through NRPE": {"[012]", limits},
		"Network connections: limits":      {"[012]", limits},
		"Network connections: leaks":       {"0", `^tcp_CLOSE_WAIT=\d+;50;500;0 tcp6_CLOSE_WAIT=\d+;50;500;0$`},
		"Network connections: port 22":     {"2", "^" + closed + "=0;;1:;0$"},
	} {
		result := results["localhost!"+name]
		if !regexp.MustCompile("^"+want.state+"$").MatchString(result["current_state"]) || !regexp.MustCompile(want.perfdata).MatchString(result["performance_data"]) {
			t.Errorf("%s: the state is %s, the output %q, the performance data %q",
				name, result["current_state"], result["plugin_output"], result["performance_data"])
		}
	}
	if got, want := results["localhost!Network connections: port 22"]["plugin_output"], "[CRITICAL] - "+closed+": 0 [CRITICAL]"; got != want {
		t.Errorf("the output is %q, want %q", got, want)
	}
}

// As they are copied, the samples ask for nothing but localhost: no group of hosts
// and no NRPE.
func TestSamplesAreQuietUntilAskedFor(t *testing.T) {
	plugins := e2e.Folder(t)
	write(t, filepath.Join(plugins, "check_network_connections"), "#!/bin/sh\necho called\n", 0o755)
	results := run(t, plugins, commandsFile+servicesFile+service("another", "check_network_connections"), 2)
	if len(results) != 2 || results["localhost!Network connections"] == nil {
		t.Errorf("the services are %v, want one of the samples", slices.Collect(maps.Keys(results)))
	}
}

// hostGroup is what one of the samples is about.
const hostGroup = "define hostgroup {\nhostgroup_name linux-servers\nmembers localhost\n}\n"

// service returns a service of the only host.
func service(name, command string) string {
	return "define service {\nuse generic-service\nhost_name localhost\nservice_description " + name + "\ncheck_command " + command + "\n}\n"
}

// run validates the definitions, lets Nagios run them until the test ends, and
// returns the status of the services by host!service once that many have been
// checked.
func run(t *testing.T, plugins, definitions string, services int) map[string]map[string]string {
	t.Helper()
	e2e.NeedRoot(t)
	const packages = "nagios4-core nagios4-common"
	e2e.Need(t, packages, "nagios4")
	if _, err := os.Stat("/etc/nagios4/objects/templates.cfg"); err != nil {
		e2e.Skip(t, err.Error()+": apt-get install "+packages)
	}
	owner, err := user.Lookup("nagios")
	if err != nil {
		e2e.Skip(t, err.Error()+": apt-get install "+packages)
	}
	uid, _ := strconv.Atoi(owner.Uid)
	gid, _ := strconv.Atoi(owner.Gid)

	folder := e2e.Folder(t)
	for _, name := range []string{"", "results", "archives"} {
		path := filepath.Join(folder, name)
		if err := os.MkdirAll(path, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(path, uid, gid); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(folder, "resource.cfg"), "$USER1$="+plugins+"\n", 0o644)
	write(t, filepath.Join(folder, "definitions.cfg"), hostFile+definitions, 0o644)
	main := filepath.Join(folder, "nagios.cfg")
	write(t, main, strings.ReplaceAll(mainFile, "FOLDER", folder), 0o644)

	e2e.Run(t, "nagios4", "-v", main)
	e2e.Start(t, exec.Command("nagios4", main))
	var results map[string]map[string]string
	e2e.WaitFor(t, 60*time.Second, "the results of the checks", func() bool {
		results = e2e.Services(filepath.Join(folder, "status.dat"))
		return len(results) == services
	})
	return results
}

func write(t *testing.T, path, content string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
}
