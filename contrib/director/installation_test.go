//go:build linux

package director_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"check_network_connections/contrib/e2e"
)

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
	e2e.Run(t, "mariadb-dump", "--no-defaults", "--user=root", "--socket="+d.socket, "--hex-blob", "--result-file="+dir+"/empty.sql", "director")
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

// dump returns the lines of all tables but those of the Director's own history.
func (d installation) dump() []string {
	d.t.Helper()
	all := e2e.Run(d.t, "mariadb-dump", "--no-defaults", "--user=root", "--socket="+d.socket,
		"--skip-comments", "--skip-extended-insert", "--hex-blob", "--no-create-info", "--ignore-table=director.director_activity_log", "director")
	return slices.DeleteFunc(strings.Split(all, "\n"), func(line string) bool { return !strings.HasPrefix(line, "INSERT ") })
}

func (d installation) restore(basket string) {
	d.t.Helper()
	d.icingacli(basket, "director", "basket", "restore")
}

// reset makes the Director forget all that it was told.
func (d installation) reset() {
	d.t.Helper()
	e2e.Run(d.t, "sh", "-c", "mariadb --no-defaults --user=root --socket="+d.socket+" director <"+d.dir+"/empty.sql")
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

// service creates a service from templates.
func (d installation) service(host, name string, parents []string, more map[string]any) {
	d.t.Helper()
	properties := map[string]any{"object_type": "object", "host": host, "imports": parents}
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

// runIcinga lets Icinga 2 run what the Director renders, and returns the results
// by host!service once that many services have been checked.
func (d installation) runIcinga(plugins string, services int) map[string]map[string]string {
	d.t.Helper()
	d.render()
	icinga := e2e.NewIcinga(d.t, e2e.NewAuthority(d.t), "master")
	icinga.Start(fmt.Sprintf("const PluginDir = %q\ninclude_recursive %q\n", plugins, d.dir+"/zones.d"))
	return icinga.Services(services)
}
