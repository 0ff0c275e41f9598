//go:build linux

// Package director_test restores the basket into a real Icinga Director, which
// is empty, and lets a real Icinga 2 run what the Director makes of it.
package director_test

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"check_network_connections/contrib/e2e"
)

//go:embed network_connections.json
var basket string

const (
	linuxCommand    = "cmd-check-network-connections"
	windowsCommand  = linuxCommand + "-windows"
	template        = "tpl-service-network-connections"
	agentTemplate   = template + "-agent"
	windowsTemplate = template + "-windows"
)

var linuxOnly = []string{"--min-idle", "--netns"}

func TestMain(m *testing.M) {
	code := m.Run()
	e2e.Cleanup()
	os.Exit(code)
}

// The basket has to offer what the program has: an argument for every flag,
// and a data field that explains itself for every argument.
func TestBasketHasEveryFlagAndAFieldForIt(t *testing.T) {
	var flags []string
	for _, flag := range e2e.Flags(t) {
		flags = append(flags, "--"+flag.Name)
	}
	slices.Sort(flags)

	var content struct {
		Command map[string]struct {
			Arguments map[string]struct {
				Value       string
				SetIf       string `json:"set_if"`
				Description string
			}
			Fields []struct {
				ID int `json:"datafield_id"`
			}
		}
		Datafield map[string]struct{ Varname, Caption, Description string }
	}
	if err := json.Unmarshal([]byte(basket), &content); err != nil {
		t.Fatal(err)
	}
	for name, missing := range map[string][]string{linuxCommand: nil, windowsCommand: linuxOnly} {
		t.Run(name, func(t *testing.T) {
			command := content.Command[name]
			var arguments, wantFields, fields []string
			for argument, is := range command.Arguments {
				arguments = append(arguments, argument)
				wantFields = append(wantFields, variable(argument))
				if macro := "$" + variable(argument) + "$"; is.Value+is.SetIf != macro {
					t.Errorf("%s takes its value from %q, want %q", argument, is.Value+is.SetIf, macro)
				}
				if is.Description == "" {
					t.Errorf("%s has no description", argument)
				}
			}
			slices.Sort(arguments)
			want := slices.DeleteFunc(slices.Clone(flags), func(flag string) bool { return slices.Contains(missing, flag) })
			if !slices.Equal(arguments, want) {
				t.Errorf("the arguments are not the program's flags\narguments: %v\nflags:     %v", arguments, want)
			}
			for _, field := range command.Fields {
				field := content.Datafield[strconv.Itoa(field.ID)]
				fields = append(fields, field.Varname)
				if field.Caption == "" || field.Description == "" {
					t.Errorf("the field %s does not explain itself", field.Varname)
				}
			}
			slices.Sort(fields)
			slices.Sort(wantFields)
			if !slices.Equal(fields, wantFields) {
				t.Errorf("the fields are not those of the arguments\nfields: %v\nwanted: %v", fields, wantFields)
			}
		})
	}
}

// Importing a newer basket over an older one is how it gets updated.
func TestRestoringTwiceChangesNothing(t *testing.T) {
	director := start(t)
	director.restore()
	first := director.dump()
	director.restore()
	if second := director.dump(); second != first {
		t.Errorf("the second restore changed the database\nbefore:\n%s\nafter:\n%s", first, second)
	}
}

func TestServiceFromTheTemplateReportsSocketsOfTheHost(t *testing.T) {
	e2e.NeedRoot(t)
	if !e2e.OwnNetwork(t) {
		return
	}
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()

	director := start(t)
	director.restore()
	director.host("server", nil)
	director.service("server", "defaults", template, map[string]any{"check_interval": "1"})
	director.service("server", "nobody may listen", template, map[string]any{
		"check_interval": "1",
		"vars": map[string]any{
			variable("--conn-status"): []string{"listen", "close_wait"},
			variable("--conn-type"):   []string{"tcp", "udp"},
			variable("--warning"):     []string{"0", "close_wait=10"},
			variable("--critical"):    []string{"close_wait=50"},
			variable("--verbose"):     true,
		},
	})

	plugins := director.folder("plugins")
	if err := os.Symlink(e2e.Plugin(t), filepath.Join(plugins, "check_network_connections")); err != nil {
		t.Fatal(err)
	}
	results := director.runIcinga(plugins, 2)

	for service, want := range map[string]map[string]string{
		"defaults": {
			"current_state":    "0",
			"plugin_output":    `^\[OK\] - tcp LISTEN: 1, ephemeral ports: 0% of \d+, total: 1$`,
			"performance_data": `^tcp_LISTEN=1;2000;;0 ephemeral_ports=0%;80;95;0;100 total=1;10000;20000;0$`,
		},
		"nobody may listen": {
			"current_state":      "1",
			"plugin_output":      `^\[WARNING\] - tcp LISTEN: 1 \[WARNING\]$`,
			"long_plugin_output": `^tcp LISTEN held by: `,
			"performance_data":   `^tcp_LISTEN=1;0;;0$`,
		},
	} {
		for key, pattern := range want {
			if got := results["server!"+service][key]; !regexp.MustCompile(pattern).MatchString(got) {
				t.Errorf("%s: %s is %q, want %s", service, key, got, pattern)
			}
		}
	}
}

// A stand-in for the program tells the command line that it was called with.
func TestEveryFieldReachesTheCommandLine(t *testing.T) {
	values := map[string]any{
		"--always-ok":      true,
		"--by":             []string{"process", "remote-port"},
		"--conn-status":    []string{"close_wait", "established"},
		"--conn-type":      []string{"tcp", "udp6"},
		"--critical":       []string{"close_wait=50", "-5:5"},
		"--debug":          true,
		"--local-address":  []string{"10.0.0.0/8", "!10.0.0.5"},
		"--local-port":     []string{"80,443", "!8000-8100"},
		"--min-idle":       "5m",
		"--netns":          "all",
		"--no-details":     true,
		"--no-perfdata":    true,
		"--process":        []string{"java", "!two words"},
		"--remote-address": []string{"fd00::/8"},
		"--remote-port":    []string{"5432"},
		"--source":         "gopsutil",
		"--test":           "out.json,,0",
		"--timeout":        10,
		"--top":            0,
		"--user":           []string{"NT AUTHORITY\\SYSTEM", "1000"},
		"--verbose":        true,
		"--warning":        []string{"2000", "close_wait=10"},
		"--zero":           true,
	}

	director := start(t)
	director.restore()
	director.host("server", nil)
	// As in Icinga 2 for Windows, the folder's name has a space in it.
	plugins := director.folder("Program Files/ICINGA2/sbin")
	wanted := map[string][]string{}
	for command, program := range map[string]string{
		linuxCommand:   "check_network_connections",
		windowsCommand: "check_network_connections.exe",
	} {
		script := "#!/bin/sh\nprintf '%s\\n' \"$0\" \"$@\"\n"
		if err := os.WriteFile(filepath.Join(plugins, program), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
		variables := map[string]any{}
		want := []string{filepath.Join(plugins, program)}
		for flag, value := range values {
			if command == windowsCommand && slices.Contains(linuxOnly, flag) {
				continue
			}
			variables[variable(flag)] = value
			switch value := value.(type) {
			case bool:
				want = append(want, flag)
			case []string:
				for _, element := range value {
					want = append(want, flag, element)
				}
			default:
				want = append(want, flag, fmt.Sprint(value))
			}
		}
		wanted[command] = want
		director.service("server", command, template, map[string]any{
			"check_command": command, "check_interval": "1", "vars": variables,
		})
	}

	results := director.runIcinga(plugins, len(wanted))
	for command, want := range wanted {
		result := results["server!"+command]
		output := result["plugin_output"] + `\n` + result["long_plugin_output"]
		got := byFlag(strings.Split(strings.TrimSuffix(output, `\n`), `\n`))
		if want := byFlag(want); !slices.Equal(got, want) {
			t.Errorf("%s was called as\n%q\nwant\n%q", command, got, want)
		}
	}
}

// byFlag sorts a command line by its flags, which Icinga 2 gives in any order.
// The values of one flag stay in theirs.
func byFlag(commandLine []string) []string {
	var sorted []string
	for _, argument := range commandLine {
		if last := len(sorted) - 1; last >= 0 && !strings.HasPrefix(argument, "--") {
			sorted[last] += " " + argument
		} else {
			sorted = append(sorted, argument)
		}
	}
	slices.SortStableFunc(sorted, func(a, b string) int {
		return strings.Compare(strings.Fields(a)[0], strings.Fields(b)[0])
	})
	return sorted
}

// Without this, the check would count the sockets of the Icinga server and
// show them as those of every host.
func TestTemplatesForAgentsRunTheCheckOnTheAgent(t *testing.T) {
	director := start(t)
	director.restore()
	for host, want := range map[string]struct{ template, command string }{
		"linux":   {agentTemplate, linuxCommand},
		"windows": {windowsTemplate, windowsCommand},
	} {
		director.host(host, map[string]any{"has_agent": true, "master_should_connect": true, "accept_config": true})
		director.service(host, "connections", want.template, nil)

		var service struct {
			Command string `json:"check_command"`
			Agent   bool   `json:"use_agent"`
			Vars    map[string]any
		}
		plain := director.icingacli("", "director", "service", "show", "connections", "--host", host, "--resolved", "--json")
		if err := json.Unmarshal([]byte(plain), &service); err != nil {
			t.Fatal(err)
		}
		if service.Command != want.command || !service.Agent || service.Vars[variable("--warning")] == nil {
			t.Errorf("a service from %s is\n%s\nwant %s on the agent, with thresholds", want.template, plain, want.command)
		}
	}

	config := director.render()
	for _, name := range []string{agentTemplate, windowsTemplate} {
		pattern := regexp.MustCompile(`(?s)template Service "` + name + `" \{[^}]*command_endpoint = host_name\n`)
		if name == windowsTemplate { // inherits it
			pattern = regexp.MustCompile(`(?s)template Service "` + name + `" \{\s+import "` + agentTemplate + `"\n`)
		}
		if !pattern.MatchString(config) {
			t.Errorf("%s is rendered without command_endpoint:\n%s", name, config)
		}
	}
	director.validate(director.write("icinga2.conf", `
const PluginDir = "/usr/lib/nagios/plugins"
include <itl>
object Endpoint NodeName { }
object Zone "master" { endpoints = [ NodeName ] }
object Zone "director-global" { global = true }
include_zones "director", "`+director.dir+`/zones.d"
`))
}

// variable is the custom variable of a flag.
func variable(flag string) string {
	return "network_connections_" + strings.ReplaceAll(strings.TrimPrefix(flag, "--"), "-", "_")
}

// installation is an Icinga Director with a database of its own.
type installation struct {
	t      *testing.T
	dir    string
	socket string
}

// start starts a Director that knows nothing yet.
func start(t *testing.T) installation {
	t.Helper()
	e2e.NeedRoot(t)
	const packages = "icingacli icingaweb2-module-director mariadb-server php-cli php-mysql php-curl icinga2-bin icinga2-common"
	e2e.Need(t, packages, "icingacli", "mariadbd", "mariadb-install-db", "mariadb", "mariadb-dump", "icinga2")
	const modules = "/usr/share/icingaweb2/modules"
	if _, err := os.Stat(modules + "/director"); err != nil {
		e2e.Skip(t, modules+"/director is missing: apt-get install "+packages)
	}
	dir := e2e.Folder(t)
	d := installation{t: t, dir: dir, socket: filepath.Join(dir, "mariadb.sock")}

	data := d.folder("mariadb")
	e2e.Run(t, "mariadb-install-db", "--no-defaults", "--user=root", "--datadir="+data,
		"--auth-root-authentication-method=normal", "--skip-test-db")
	e2e.Start(t, exec.Command("mariadbd", "--no-defaults", "--user=root", "--datadir="+data,
		"--socket="+d.socket, "--skip-networking", "--pid-file="+filepath.Join(dir, "mariadb.pid"),
		"--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=32M"))
	e2e.WaitFor(t, 30*time.Second, "the database", func() bool {
		return exec.Command("mariadb", "--no-defaults", "--user=root", "--socket="+d.socket, "-e", "SELECT 1").Run() == nil
	})
	e2e.Run(t, "mariadb", "--no-defaults", "--user=root", "--socket="+d.socket, "-e", "CREATE DATABASE director CHARACTER SET utf8mb4")

	d.folder("php")
	d.write("php/socket.ini", "pdo_mysql.default_socket = "+d.socket+"\n")
	d.folder("web/enabledModules")
	d.folder("web/modules/director")
	d.write("web/config.ini", "[global]\nconfig_resource = director\nmodule_path = "+modules+"\n[logging]\nlog = none\n")
	d.write("web/resources.ini", "[director]\ntype = db\ndb = mysql\nhost = localhost\ndbname = director\nusername = root\ncharset = utf8mb4\n")
	d.write("web/modules/director/config.ini", "[db]\nresource = director\n")
	for _, module := range []string{"incubator", "reactbundle", "director"} {
		d.icingacli("", "module", "enable", module)
	}
	d.icingacli("", "director", "migration", "run")
	return d
}

func (d installation) folder(name string) string {
	d.t.Helper()
	path := filepath.Join(d.dir, name)
	if err := os.MkdirAll(path, 0o755); err != nil {
		d.t.Fatal(err)
	}
	return path
}

func (d installation) write(name, content string) string {
	d.t.Helper()
	path := filepath.Join(d.dir, name)
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		d.t.Fatal(err)
	}
	return path
}

func (d installation) icingacli(input string, arguments ...string) string {
	d.t.Helper()
	command := exec.Command("icingacli", arguments...)
	command.Env = append(os.Environ(), "ICINGAWEB_CONFIGDIR="+d.dir+"/web", "PHP_INI_SCAN_DIR=:"+d.dir+"/php")
	command.Stdin = strings.NewReader(input)
	output, err := command.CombinedOutput()
	if err != nil || strings.Contains(string(output), "ERROR") {
		d.t.Fatalf("icingacli %s: %v\n%s", strings.Join(arguments, " "), err, output)
	}
	return string(output)
}

// query returns what the database answers, without the last line break.
func (d installation) query(sql string) string {
	d.t.Helper()
	return strings.TrimSuffix(e2e.Run(d.t, "mariadb", "--no-defaults", "--user=root", "--socket="+d.socket,
		"--batch", "--raw", "--skip-column-names", "-e", sql, "director"), "\n")
}

func (d installation) dump() string {
	d.t.Helper()
	return e2e.Run(d.t, "mariadb-dump", "--no-defaults", "--user=root", "--socket="+d.socket,
		"--skip-comments", "--skip-extended-insert", "--hex-blob", "--no-create-info", "director")
}

func (d installation) restore() {
	d.t.Helper()
	d.icingacli(basket, "director", "basket", "restore")
}

func (d installation) create(kind, name string, properties map[string]any) {
	d.t.Helper()
	plain, err := json.Marshal(properties)
	if err != nil {
		d.t.Fatal(err)
	}
	d.icingacli("", "director", kind, "create", name, "--json", string(plain))
}

// host creates a host. The first one needs a command that the Director would
// otherwise know from Icinga 2.
func (d installation) host(name string, more map[string]any) {
	d.t.Helper()
	if d.query("SELECT COUNT(*) FROM icinga_command WHERE object_name = 'dummy'") == "0" {
		d.create("command", "dummy", map[string]any{"object_type": "external_object", "methods_execute": "PluginCheck"})
	}
	properties := map[string]any{"object_type": "object", "check_command": "dummy"}
	maps.Copy(properties, more)
	d.create("host", name, properties)
}

// service creates a service from a template.
func (d installation) service(host, name, parent string, more map[string]any) {
	d.t.Helper()
	properties := map[string]any{"object_type": "object", "host": host, "imports": []string{parent}}
	maps.Copy(properties, more)
	d.create("service", name, properties)
}

// render has the Director render its configuration and writes it into the
// folder zones.d, as a deployment would. It returns all of it.
func (d installation) render() string {
	d.t.Helper()
	checksum := regexp.MustCompile(`[0-9a-f]{40}`).FindString(d.icingacli("", "director", "config", "render"))
	files := " FROM director_generated_config_file JOIN director_generated_file ON checksum = file_checksum" +
		" WHERE config_checksum = UNHEX('" + checksum + "')"
	var all strings.Builder
	for _, path := range strings.Split(d.query("SELECT file_path"+files), "\n") {
		content := d.query("SELECT content"+files+" AND file_path = '"+path+"'") + "\n"
		d.folder(filepath.Dir(path))
		d.write(path, content)
		all.WriteString(content)
	}
	return all.String()
}

// constants keeps everything that Icinga 2 writes within the test's folder.
func (d installation) constants() []string {
	d.t.Helper()
	arguments := []string{"-D", "NodeName=master"}
	for name, folder := range map[string]string{
		"DataDir": "data", "LogDir": "log", "CacheDir": "cache", "SpoolDir": "spool", "InitRunDir": "run",
	} {
		path := d.folder("icinga2/" + folder)
		e2e.Run(d.t, "chown", "nagios", path)
		arguments = append(arguments, "-D", name+"="+path)
	}
	return arguments
}

func (d installation) validate(config string) {
	d.t.Helper()
	e2e.Run(d.t, "icinga2", append([]string{"daemon", "-C", "-c", config}, d.constants()...)...)
}

// runIcinga lets Icinga 2 run what the Director renders, and returns the status
// of each service by host!service once that many have been checked. The zones are
// left out: with them Icinga 2 checks nothing until it has certificates.
func (d installation) runIcinga(plugins string, services int) map[string]map[string]string {
	d.t.Helper()
	d.render()
	config := d.write("icinga2.conf", fmt.Sprintf(`
const PluginDir = "%s"
include <itl>
object CheckerComponent "checker" { }
object StatusDataWriter "status" {
  status_path = "%[2]s/icinga2/run/status.dat"
  objects_path = "%[2]s/icinga2/run/objects.cache"
  update_interval = 1s
}
include_recursive "%[2]s/zones.d"
`, plugins, d.dir))
	d.validate(config)
	e2e.Start(d.t, exec.Command("icinga2", append([]string{"daemon", "-c", config}, d.constants()...)...))

	var results map[string]map[string]string
	e2e.WaitFor(d.t, 60*time.Second, "the results of the checks", func() bool {
		results = e2e.Services(filepath.Join(d.dir, "icinga2/run/status.dat"))
		return len(results) == services
	})
	return results
}
