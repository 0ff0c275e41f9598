// Package packaging_test builds the release as a tag would and looks at what
// comes out: archives, packages, the manual page, and the package at work.
package packaging_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"debug/buildinfo"
	"debug/elf"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"check_network_connections/contrib/e2e"
)

const (
	program     = "check_network_connections"
	packageName = "check-network-connections"
	documents   = "/usr/share/doc/" + packageName + "/"
	version     = "1.2.3"
	commitDate  = "2026-01-02T03:04:05Z"
	sizeLimit   = 6 << 20
)

// A target is a system that binaries are built for. Those for Linux also come
// as packages, under the names that each family gives the processor.
type target struct{ system, processor, deb, rpm, apk string }

var targets = []target{
	{"linux", "amd64", "amd64", "x86_64", "x86_64"},
	{"linux", "arm64", "arm64", "aarch64", "aarch64"},
	{"linux", "armv7", "armhf", "armv7hl", "armv7"},
	{"linux", "386", "i386", "i386", "x86"},
	{"linux", "riscv64", "riscv64", "riscv64", "riscv64"},
	{"linux", "ppc64le", "ppc64el", "ppc64le", "ppc64le"},
	{"linux", "s390x", "s390x", "s390x", "s390x"},
	{system: "windows", processor: "amd64"},
	{system: "windows", processor: "arm64"},
	{system: "darwin", processor: "amd64"},
	{system: "darwin", processor: "arm64"},
	{system: "freebsd", processor: "amd64"},
}

// folder returns the name of the folder that the archive unpacks to.
func (t target) folder() string {
	return strings.Join([]string{program, version, t.system, t.processor}, "_")
}

func (t target) archive() string {
	if t.system == "windows" {
		return t.folder() + ".zip"
	}
	return t.folder() + ".tar.gz"
}

func (t target) executable() string {
	if t.system == "windows" {
		return program + ".exe"
	}
	return program
}

func (t target) debFile() string {
	return packageName + "_" + version + "-1_" + t.deb + ".deb"
}

func (t target) rpmFile() string {
	return packageName + "-" + version + "-1." + t.rpm + ".rpm"
}

func (t target) apkFile() string {
	return packageName + "_" + version + "-r1_" + t.apk + ".apk"
}

// rpmPlugins is the plugin folder of the families that use RPM.
func (t target) rpmPlugins() string {
	if t.processor == "386" || t.processor == "armv7" {
		return "/usr/lib/nagios/plugins/"
	}
	return "/usr/lib64/nagios/plugins/"
}

var (
	update = flag.Bool("update", false, "write what --help says into the manual page")
	work   string // a folder for the whole run, open to every user
)

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(func() int {
		defer e2e.Cleanup()
		var err error
		if work, err = os.MkdirTemp("", "packaging-"); err == nil {
			err = os.Chmod(work, 0o755)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(work)
		return m.Run()
	}())
}

// shell runs a script in a folder, as GoReleaser and git see it everywhere:
// without the configuration and the credentials of whoever runs the tests.
func shell(folder, script string) (string, error) {
	command := exec.Command("sh", "-ec", script)
	command.Dir = folder
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "GIT_") && !strings.HasPrefix(variable, "GITHUB_TOKEN=") {
			command.Env = append(command.Env, variable)
		}
	}
	command.Env = append(command.Env,
		"GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_DATE="+commitDate, "GIT_COMMITTER_DATE="+commitDate)
	output, err := command.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, output)
	}
	return string(output), err
}

// trackedFiles returns the files of the repository, those included that are
// new and not to be ignored.
func trackedFiles() ([]string, error) {
	list, err := exec.Command("git", "-C", e2e.Root(), "ls-files", "-z",
		"--cached", "--others", "--exclude-standard").Output()
	if err != nil {
		return nil, fmt.Errorf("git ls-files: %w", err)
	}
	var files []string
	for _, name := range strings.Split(strings.TrimRight(string(list), "\x00"), "\x00") {
		if _, err := os.Lstat(filepath.Join(e2e.Root(), name)); err == nil {
			files = append(files, name)
		}
	}
	return files, nil
}

// commit copies the files as they are now into a new repository, whose only
// commit has the tag of the release.
func commit(folder string) error {
	files, err := trackedFiles()
	if err != nil {
		return err
	}
	for _, name := range files {
		from, to := filepath.Join(e2e.Root(), name), filepath.Join(folder, name)
		content, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		info, err := os.Stat(from)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(to, content, info.Mode().Perm()); err != nil {
			return err
		}
	}
	_, err = shell(folder, `
		git init --quiet --initial-branch main
		git remote add origin https://git.example.org/monitoring/check_network_connections.git
		git add --all
		git -c user.name=Test -c user.email=test@example.org commit --quiet --message release
		git tag v`+version)
	return err
}

var released struct {
	sync.Once
	err error
}

// release makes the release once and returns the repository that it was made
// in.
func release(t testing.TB) string {
	t.Helper()
	e2e.Need(t, "git", "git")
	needGoReleaser(t)
	folder := filepath.Join(work, "first")
	released.Do(func() {
		if released.err = commit(folder); released.err == nil {
			_, released.err = shell(folder, "goreleaser release --clean --skip=publish")
		}
	})
	if released.err != nil {
		t.Fatal(released.err)
	}
	return folder
}

func dist(t testing.TB, name string) string {
	t.Helper()
	return filepath.Join(release(t), "dist", name)
}

func needGoReleaser(t testing.TB) {
	t.Helper()
	if _, err := exec.LookPath("goreleaser"); err != nil {
		e2e.Skip(t, "goreleaser is missing: go install github.com/goreleaser/goreleaser/v2@v2.16.0")
	}
}

func TestGoReleaserAcceptsTheConfiguration(t *testing.T) {
	e2e.Need(t, "git", "git")
	needGoReleaser(t)
	for _, remote := range []string{"with", "without"} {
		t.Run(remote+" a remote repository", func(t *testing.T) {
			folder := t.TempDir()
			if err := commit(folder); err != nil {
				t.Fatal(err)
			}
			script := "goreleaser check"
			if remote == "without" {
				script = "git remote remove origin; " + script
			}
			if output, err := shell(folder, script); err != nil {
				t.Error(err)
			} else if strings.Contains(output, "deprecated") {
				t.Errorf("the configuration uses what will go away:\n%s", output)
			}
		})
	}
}

func TestReleaseIsComplete(t *testing.T) {
	sums, err := os.ReadFile(dist(t, "SHA256SUMS"))
	if err != nil {
		t.Fatal(err)
	}
	var got, want []string
	for line := range strings.Lines(string(sums)) {
		got = append(got, strings.Fields(line)[1])
	}
	for _, target := range targets {
		want = append(want, target.archive())
		if target.system == "linux" {
			want = append(want, target.debFile(), target.rpmFile(), target.apkFile())
		}
	}
	equal(t, "files with a checksum", got, want)
	if _, err := shell(filepath.Dir(dist(t, "SHA256SUMS")), "sha256sum --check --quiet SHA256SUMS"); err != nil {
		t.Error(err)
	}
}

func TestTwoBuildsOfOneCommitAreEqual(t *testing.T) {
	first, err := os.ReadFile(dist(t, "SHA256SUMS"))
	if err != nil {
		t.Fatal(err)
	}
	// Another place, another time zone, other permissions, another time.
	folder := t.TempDir()
	if _, err := shell(folder, `
		umask 077
		export TZ=Pacific/Auckland
		git clone --quiet `+filepath.Join(work, "first")+` in/another/place
		cd in/another/place
		goreleaser release --clean --skip=publish`); err != nil {
		t.Fatal(err)
	}
	second, err := os.ReadFile(filepath.Join(folder, "in", "another", "place", "dist", "SHA256SUMS"))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "checksums", slices.Collect(strings.Lines(string(second))), slices.Collect(strings.Lines(string(first))))
}

// definitions returns the files under contrib/ that are for users: all but
// the tests and what belongs to them.
func definitions(t testing.TB) []string {
	t.Helper()
	files, err := trackedFiles()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, name := range files {
		if rest, ok := strings.CutPrefix(name, "contrib/"); ok && path.Ext(name) != ".go" && !strings.Contains(name, "/testdata/") {
			names = append(names, rest)
		}
	}
	if len(names) == 0 {
		t.Fatal("no definitions under contrib/")
	}
	return names
}

func TestArchivesHoldTheProgramAndItsDocuments(t *testing.T) {
	for _, target := range targets {
		t.Run(target.archive(), func(t *testing.T) {
			want := []string{target.executable(), "README.md", "LICENSE", "CHANGELOG.md", "copyright"}
			for _, name := range definitions(t) {
				want = append(want, "contrib/"+name)
			}
			var got []string
			for name, member := range members(t, dist(t, target.archive())) {
				name, found := strings.CutPrefix(name, target.folder()+"/")
				if !found {
					t.Errorf("%s is outside of the archive's folder", name)
				}
				mode := os.FileMode(0o644)
				if name == target.executable() {
					mode = 0o755
				}
				if member.mode.Perm() != mode {
					t.Errorf("%s has the mode %v, want %v", name, member.mode.Perm(), mode)
				}
				if got := member.changed.UTC().Format(time.RFC3339); got != commitDate {
					t.Errorf("%s has the time %s, want that of the commit, %s", name, got, commitDate)
				}
				got = append(got, name)
			}
			equal(t, "files", got, want)
		})
	}
}

func TestBinariesAreSmallAndStandAlone(t *testing.T) {
	licences, err := os.ReadFile(filepath.Join(e2e.Root(), "packaging", "copyright"))
	if err != nil {
		t.Fatal(err)
	}
	for _, target := range targets {
		t.Run(target.system+" "+target.processor, func(t *testing.T) {
			binary := members(t, dist(t, target.archive()))[target.folder()+"/"+target.executable()].content
			if len(binary) == 0 || len(binary) >= sizeLimit {
				t.Errorf("the binary has %d bytes, want less than %d", len(binary), sizeLimit)
			}
			info, err := buildinfo.Read(bytes.NewReader(binary))
			if err != nil {
				t.Fatal(err)
			}
			settings := map[string]string{}
			for _, setting := range info.Settings {
				settings[setting.Key] = setting.Value
			}
			for key, want := range map[string]string{
				"GOOS": target.system, "CGO_ENABLED": "0", "-trimpath": "true",
			} {
				if settings[key] != want {
					t.Errorf("%s is %q, want %q", key, settings[key], want)
				}
			}
			if got := settings["GOARCH"]; target.processor == "armv7" {
				if got+"v"+settings["GOARM"] != "armv7" {
					t.Errorf("the processor is %s %s, want armv7", got, settings["GOARM"])
				}
			} else if got != target.processor {
				t.Errorf("the processor is %s, want %s", got, target.processor)
			}
			for _, module := range info.Deps {
				if !regexp.MustCompile(`(?m)^(Files:)? ` + regexp.QuoteMeta(module.Path) + `$`).Match(licences) {
					t.Errorf("packaging/copyright does not tell the licence of %s, which is linked in", module.Path)
				}
			}
			if target.system == "linux" || target.system == "freebsd" {
				checkStaticAndStripped(t, binary)
			}
		})
	}
}

func checkStaticAndStripped(t *testing.T, binary []byte) {
	t.Helper()
	file, err := elf.NewFile(bytes.NewReader(binary))
	if err != nil {
		t.Fatal(err)
	}
	for _, segment := range file.Progs {
		if segment.Type == elf.PT_INTERP || segment.Type == elf.PT_DYNAMIC {
			t.Errorf("the binary has a segment %v: it is not static", segment.Type)
		}
	}
	for _, name := range []string{".symtab", ".debug_info", ".zdebug_info"} {
		if file.Section(name) != nil {
			t.Errorf("the binary has a section %s: it is not stripped", name)
		}
	}
}

func TestVersionNamesTheCommit(t *testing.T) {
	folder := release(t)
	hash, err := shell(folder, "git rev-parse HEAD")
	if err != nil {
		t.Fatal(err)
	}
	hash = hash[:7]
	date, _, _ := strings.Cut(commitDate, "T")

	t.Run("of the release", func(t *testing.T) {
		here := slices.IndexFunc(targets, func(target target) bool {
			return target.system == runtime.GOOS && target.processor == runtime.GOARCH
		})
		if here < 0 {
			t.Skip("the release has no binary for this machine")
		}
		file := filepath.Join(t.TempDir(), program)
		binary := members(t, dist(t, targets[here].archive()))[targets[here].folder()+"/"+program].content
		if err := os.WriteFile(file, binary, 0o755); err != nil {
			t.Fatal(err)
		}
		checkVersion(t, file, version, hash, date)
	})
	t.Run("of a build without GoReleaser", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), program)
		if _, err := shell(folder, "go build -buildvcs=true -o "+file+" ."); err != nil {
			t.Fatal(err)
		}
		checkVersion(t, file, version, hash, date)
	})
}

// checkVersion compares the answer to --version with the numbers that must be
// in it.
func checkVersion(t *testing.T, file, version, commit, date string) {
	t.Helper()
	output, err := exec.Command(file, "--version").Output()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Errorf("--version ended with %v, want exit code 3", err)
	}
	form := regexp.MustCompile(`^` + program + ` version v?` + regexp.QuoteMeta(version) +
		`[^(\n]* \((commit )?` + commit + `[0-9a-f]*, ` + date + `[^\n]*\)\n$`)
	if !form.Match(output) {
		t.Errorf("--version printed %q, want the version %s, the commit %s and the date %s", output, version, commit, date)
	}
}

func TestPackagesPutEveryFileWhereItsFamilyLooks(t *testing.T) {
	e2e.Need(t, "rpm", "rpm")
	e2e.Need(t, "dpkg", "dpkg-deb")
	common := []string{
		"/usr/share/icinga2/include/plugins-contrib.d/network_connections.conf",
		"/usr/share/man/man8/check_network_connections.8.gz",
		documents + "README.md",
		documents + "changelog.gz",
		documents + "copyright",
	}
	for _, name := range definitions(t) {
		common = append(common, documents+"examples/"+name)
	}
	for _, target := range targets {
		if target.system != "linux" {
			continue
		}
		for file, own := range map[string][]string{
			target.debFile(): {"/usr/lib/nagios/plugins/" + program, documents + "changelog.Debian.gz",
				"/usr/share/lintian/overrides/" + packageName},
			target.rpmFile(): {target.rpmPlugins() + program, documents + "LICENSE"},
			target.apkFile(): {"/usr/lib/nagios/plugins/" + program, documents + "LICENSE",
				"/usr/lib/monitoring-plugins/" + program, "/.PKGINFO"},
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
	plugin := "/usr/lib/nagios/plugins/" + program
	output := e2e.Run(t, "runuser", "-u", "nagios", "--", plugin)
	if !strings.HasPrefix(output, "[OK] - ") {
		t.Errorf("the user nagios gets %q, want [OK]", output)
	}
	t.Run("Icinga 2 runs the installed CheckCommand", icingaRunsTheCheckCommand)

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
	folder := e2e.Folder(t)
	e2e.Run(t, "chown", "nagios", folder)
	status := filepath.Join(folder, "status")
	configuration := filepath.Join(folder, "icinga2.conf")
	text := fmt.Sprintf(`
include "/etc/icinga2/constants.conf"
const NodeName = "localhost"
include <itl>
include <plugins>
include <plugins-contrib>
object CheckerComponent "checker" {}
object Host NodeName { check_command = "dummy" }
object Service "connections" {
	host_name = NodeName
	check_command = "network_connections"
	check_interval = 1s
	vars.network_connections_conn_type = [ "tcp" ]
	vars.network_connections_conn_status = [ "listen" ]
	vars.network_connections_critical = [ "tcp_listen=1:" ]
}
object StatusDataWriter "status" {
	status_path = %q
	objects_path = %q
	update_interval = 1s
}
`, status, filepath.Join(folder, "objects"))
	if err := os.WriteFile(configuration, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	arguments := []string{"daemon", "--config", configuration}
	for _, name := range []string{"DataDir", "CacheDir", "SpoolDir", "LogDir", "InitRunDir"} {
		arguments = append(arguments, "--define", "Configuration."+name+"="+folder)
	}
	e2e.Run(t, "icinga2", append(arguments, "--validate")...)

	// Something listens, so that there is something to count.
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	e2e.Start(t, exec.Command("icinga2", arguments...))
	var service map[string]string
	e2e.WaitFor(t, 30*time.Second, "the result of the service", func() bool {
		service = e2e.Services(status)["localhost!connections"]
		return service != nil
	})
	if state := service["current_state"]; state != "0" {
		t.Errorf("the service is in state %s, want 0", state)
	}
	if output := service["plugin_output"]; !strings.HasPrefix(output, "[OK] - tcp LISTEN: ") {
		t.Errorf("the output is %q, want only the listening sockets", output)
	}
	if data := service["performance_data"]; !strings.HasPrefix(data, "tcp_LISTEN=") {
		t.Errorf("the performance data is %q, want the listening sockets", data)
	}
}

// The folders of other packages may stay: they are theirs.
func TestRPMGoesWithAllItsFiles(t *testing.T) {
	e2e.NeedRoot(t)
	e2e.Need(t, "rpm", "rpm")
	here := slices.IndexFunc(targets, func(target target) bool {
		return target.system == "linux" && target.processor == runtime.GOARCH
	})
	if here < 0 {
		t.Skip("the release has no package for this machine")
	}
	root := t.TempDir()
	rpm := func(arguments ...string) { e2e.Run(t, "rpm", append([]string{"--root", root}, arguments...)...) }
	rpm("--install", "--nodeps", dist(t, targets[here].rpmFile()))
	rpm("--verify", "--nodeps", packageName)
	if output := e2e.Run(t, root+targets[here].rpmPlugins()+program); !strings.HasPrefix(output, "[OK] - ") {
		t.Errorf("the installed plugin printed %q, want [OK]", output)
	}
	rpm("--erase", packageName)
	err := filepath.WalkDir(filepath.Join(root, "usr", "share"), func(name string, entry os.DirEntry, err error) error {
		if err == nil && (!entry.IsDir() || entry.Name() == packageName) {
			t.Errorf("%s is left", strings.TrimPrefix(name, root))
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

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

func TestWorkflowsAreValid(t *testing.T) {
	if _, err := exec.LookPath("actionlint"); err != nil {
		e2e.Skip(t, "actionlint is missing: go install github.com/rhysd/actionlint/cmd/actionlint@v1.7.12")
	}
	files, err := filepath.Glob(filepath.Join(e2e.Root(), ".github", "workflows", "*.yml"))
	if err != nil || len(files) != 2 {
		t.Fatalf("the workflows are %v (%v), want those for test and release", files, err)
	}
	e2e.Run(t, "actionlint", append([]string{"-shellcheck=", "-pyflakes="}, files...)...)
}

// A member is a file of an archive.
type member struct {
	mode    os.FileMode
	changed time.Time
	content []byte
}

// members reads an archive: zip, or tar with gzip (as apk is). Folders are
// left out.
func members(t testing.TB, file string) map[string]member {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasSuffix(file, ".zip") {
		return zipMembers(t, content)
	}
	plain, err := gzip.NewReader(bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	return tarMembers(t, plain)
}

func zipMembers(t testing.TB, content []byte) map[string]member {
	t.Helper()
	files := map[string]member{}
	archive, err := zip.NewReader(bytes.NewReader(content), int64(len(content)))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range archive.File {
		opened, err := file.Open()
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(opened)
		if err != nil {
			t.Fatal(err)
		}
		files[file.Name] = member{file.Mode(), file.Modified, content}
	}
	return files
}

func tarMembers(t testing.TB, reader io.Reader) map[string]member {
	t.Helper()
	files := map[string]member{}
	for archive := tar.NewReader(reader); ; {
		header, err := archive.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		if header.Typeflag != tar.TypeDir {
			files[header.Name] = member{header.FileInfo().Mode(), header.ModTime, content}
		}
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

// equal compares two lists in whatever order.
func equal(t testing.TB, what string, got, want []string) {
	t.Helper()
	for _, item := range got {
		if !slices.Contains(want, item) {
			t.Errorf("%s: %q is too much", what, item)
		}
	}
	for _, item := range want {
		if !slices.Contains(got, item) {
			t.Errorf("%s: %q is missing", what, item)
		}
	}
}
