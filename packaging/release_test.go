// Package packaging_test builds the release as a tag would and looks at what
// comes out: archives, packages, the manual page, and the package at work.
package packaging_test

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"check_network_connections/contrib/e2e"
)

const (
	program     = "check_network_connections"
	packageName = "check-network-connections"
	documents   = "/usr/share/doc/" + packageName + "/"
	plugin      = "/usr/lib/nagios/plugins/" + program
	version     = "1.2.3"
	nextVersion = "1.2.4"
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

func (t target) debFile() string { return t.packageFile(version, ".deb") }
func (t target) rpmFile() string { return t.packageFile(version, ".rpm") }
func (t target) apkFile() string { return t.packageFile(version, ".apk") }

func (t target) packageFile(version, extension string) string {
	switch extension {
	case ".deb":
		return packageName + "_" + version + "-1_" + t.deb + extension
	case ".rpm":
		return packageName + "-" + version + "-1." + t.rpm + extension
	}
	return packageName + "_" + version + "-r1_" + t.apk + extension
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
		git remote add origin https://git.invalid/monitoring/check_network_connections.git
		git add --all
		git -c user.name=Test -c user.email=test@test.invalid commit --quiet --message release
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
	e2e.NeedLong(t)
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
