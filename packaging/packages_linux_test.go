package packaging_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"check_network_connections/contrib/e2e"
)

func TestPackagesPutEveryFileWhereItsFamilyLooks(t *testing.T) {
	e2e.Need(t, "rpm", "rpm")
	e2e.Need(t, "dpkg", "dpkg-deb")
	common := []string{
		"/usr/share/icinga2/include/plugins-contrib.d/network_connections.conf",
		"/usr/share/man/man8/check_network_connections.8.gz",
		plugin,
		"/usr/bin/" + program,
		documents + "README.md",
		documents + "SECURITY.md",
		documents + "contrib",
		documents + "changelog.gz",
		documents + "copyright",
	}
	for _, name := range definitions(t) {
		common = append(common, documents+"examples/"+name)
	}
	for _, name := range pages(t) {
		common = append(common, documents+name)
	}
	for _, target := range targets {
		if target.system != "linux" {
			continue
		}
		for file, own := range map[string][]string{
			target.debFile(): {documents + "changelog.Debian.gz",
				"/usr/share/lintian/overrides/" + packageName},
			target.rpmFile(): {"/usr/lib64/nagios/plugins/" + program, documents + "LICENSE"},
			target.apkFile(): {documents + "LICENSE", "/usr/lib/monitoring-plugins/" + program, "/.PKGINFO"},
		} {
			t.Run(file, func(t *testing.T) {
				equal(t, "files", packaged(t, dist(t, file)), slices.Concat(common, own))
			})
		}
	}
}

func TestLintianFindsNothing(t *testing.T) {
	e2e.Need(t, "lintian", "lintian")
	for _, target := range targets {
		if target.system == "linux" {
			output, err := exec.Command("lintian", "--allow-root", "--fail-on", "error,warning", dist(t, target.debFile())).CombinedOutput()
			if err != nil || len(output) > 0 {
				t.Errorf("%s: %v\n%s", target.debFile(), err, output)
			}
		}
	}
}

// The package is installed, serves an Icinga 2 and goes without a trace.
func TestDebianPackageAtWork(t *testing.T) {
	e2e.NeedRoot(t)
	e2e.Need(t, "dpkg icinga2-bin icinga2-common util-linux", "dpkg", "icinga2", "runuser")
	if exec.Command("dpkg-query", "--show", packageName).Run() == nil {
		e2e.Skip(t, "the package is installed on this machine: dpkg --purge "+packageName)
	}
	processor := strings.TrimSpace(e2e.Run(t, "dpkg", "--print-architecture"))
	here := slices.IndexFunc(targets, func(target target) bool { return target.deb == processor })
	if here < 0 {
		t.Skip("the release has no package for this machine")
	}
	file := dist(t, targets[here].debFile())
	present := map[string]bool{}
	for _, name := range packaged(t, file) {
		for ; name != "/"; name = path.Dir(name) {
			_, err := os.Lstat(name)
			present[name] = err == nil
		}
	}

	t.Cleanup(func() { _ = exec.Command("dpkg", "--purge", packageName).Run() })
	e2e.Run(t, "dpkg", "--install", file)
	if changed := e2e.Run(t, "dpkg", "--verify", packageName); changed != "" {
		t.Errorf("dpkg finds other files than those of the package:\n%s", changed)
	}
	for _, name := range []string{plugin, "/usr/bin/" + program} {
		if output := e2e.Run(t, "runuser", "-u", "nagios", "--", name); !strings.HasPrefix(output, "[OK] - ") {
			t.Errorf("%s as the user nagios prints %q, want [OK]", name, output)
		}
	}
	for _, name := range []string{"docs", "contrib/icinga2/network_connections.conf", "SECURITY.md"} {
		if _, err := os.Stat(documents + name); err != nil {
			t.Errorf("the paths in README.md do not fit: %v", err)
		}
	}
	t.Run("Icinga 2 runs the installed CheckCommand", icingaRunsTheCheckCommand)

	given := give(t, plugin)
	e2e.Run(t, "dpkg", "--install", filepath.Join(upgrade(t), targets[here].packageFile(nextVersion, ".deb")))
	expectVersion(t, plugin, nextVersion)
	if kept := attributesOf(t, plugin); kept != given {
		t.Errorf("after the upgrade the plugin has %s, want %s", kept, given)
	}

	e2e.Run(t, "dpkg", "--purge", packageName)
	for name, before := range present {
		if _, err := os.Lstat(name); err == nil != before {
			t.Errorf("%s was there before the package: %t, after it: %t", name, before, err == nil)
		}
	}
	if left, _ := filepath.Glob("/var/lib/dpkg/info/" + packageName + "*"); len(left) > 0 {
		t.Errorf("dpkg still knows %v", left)
	}
}

// Icinga 2 gets the constants and the includes of its package and no path of
// the plugin or the CheckCommand.
func icingaRunsTheCheckCommand(t *testing.T) {
	// Something listens, so that there is something to count.
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	port := listener.Addr().(*net.TCPAddr).Port
	icinga := e2e.NewIcinga(t, e2e.NewAuthority(t), "localhost")
	icinga.Start(fmt.Sprintf(`
include "/etc/icinga2/constants.conf"
include <plugins>
include <plugins-contrib>
object Host NodeName { check_command = "dummy" }
object Service "connections" {
	host_name = NodeName
	check_command = "network_connections"
	check_interval = 1s
	vars.network_connections_conn_status = "listen"
	vars.network_connections_local_port = %d
	vars.network_connections_critical = "tcp_listen=1:"
}
`, port))
	service := icinga.Services(1)["localhost!connections"]
	for field, want := range map[string]string{
		"current_state": "0", "plugin_output": "[OK] - tcp LISTEN: 1", "performance_data": "tcp_LISTEN=1;;1:;0",
	} {
		if service[field] != want {
			t.Errorf("%s is %q, want %q", field, service[field], want)
		}
	}
}

// The folders of other packages may stay: they are theirs.
func TestRPMAtWork(t *testing.T) {
	e2e.NeedRoot(t)
	e2e.Need(t, "rpm", "rpm")
	here := slices.IndexFunc(targets, func(target target) bool {
		return target.system == "linux" && target.processor == runtime.GOARCH
	})
	if here < 0 {
		t.Skip("the release has no package for this machine")
	}
	root := e2e.Folder(t)
	for _, name := range []string{"sh", "cp", "rm"} {
		copyProgram(t, root, name) // what the scripts of the package call
	}
	rpm := func(arguments ...string) { e2e.Run(t, "rpm", append([]string{"--root", root}, arguments...)...) }
	rpm("--install", "--nodeps", dist(t, targets[here].rpmFile()))
	rpm("--verify", "--nodeps", packageName)
	for _, name := range []string{plugin, "/usr/bin/" + program, "/usr/lib64/nagios/plugins/" + program} {
		if output := e2e.Run(t, root+name); !strings.HasPrefix(output, "[OK] - ") {
			t.Errorf("%s printed %q, want [OK]", name, output)
		}
	}
	given := give(t, root+plugin)
	rpm("--upgrade", "--nodeps", filepath.Join(upgrade(t), targets[here].packageFile(nextVersion, ".rpm")))
	expectVersion(t, root+plugin, nextVersion)
	if kept := attributesOf(t, root+plugin); kept != given {
		t.Errorf("after the upgrade the plugin has %s, want %s", kept, given)
	}
	rpm("--erase", packageName)
	err := filepath.WalkDir(filepath.Join(root, "usr"), func(name string, entry os.DirEntry, err error) error {
		if err == nil && (strings.Contains(entry.Name(), program) || entry.Name() == packageName) {
			t.Errorf("%s is left", strings.TrimPrefix(name, root))
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// packaged returns the paths that a package puts files at.
func packaged(t testing.TB, file string) []string {
	t.Helper()
	var names []string
	switch filepath.Ext(file) {
	case ".rpm":
		for line := range strings.Lines(e2e.Run(t, "rpm", "--query", "--queryformat", `[%{FILEMODES:perms} %{FILENAMES}\n]`, "--package", file)) {
			if mode, name, _ := strings.Cut(strings.TrimSpace(line), " "); !strings.HasPrefix(mode, "d") {
				names = append(names, name)
			}
		}
	case ".deb":
		for name := range tarMembers(t, strings.NewReader(e2e.Run(t, "dpkg-deb", "--fsys-tarfile", file))) {
			names = append(names, path.Join("/", name))
		}
	default:
		for name := range members(t, file) {
			names = append(names, path.Join("/", name))
		}
	}
	return names
}
