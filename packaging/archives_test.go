package packaging_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"debug/buildinfo"
	"debug/elf"
	"errors"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"check_network_connections/contrib/e2e"
)

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
		if rest, ok := strings.CutPrefix(name, "contrib/"); ok && path.Ext(name) != ".go" && !strings.Contains(name, "/testdata/") && !strings.HasPrefix(rest, "kernels/") {
			names = append(names, rest)
		}
	}
	if len(names) == 0 {
		t.Fatal("no definitions under contrib/")
	}
	return names
}

// pages returns the pages under docs/ and their pictures.
func pages(t testing.TB) []string {
	t.Helper()
	files, err := trackedFiles()
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(files, func(name string) bool {
		return path.Dir(name) != "docs" || path.Ext(name) != ".md" && path.Ext(name) != ".png"
	})
}

func TestArchivesHoldTheProgramAndItsDocuments(t *testing.T) {
	for _, target := range targets {
		t.Run(target.archive(), func(t *testing.T) {
			want := []string{target.executable(), "README.md", "LICENSE", "CHANGELOG.md", "SECURITY.md", "copyright"}
			want = append(want, pages(t)...)
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

func TestVersionIsThatOfTheTag(t *testing.T) {
	folder := release(t)
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
		expectVersion(t, file, version)
	})
	t.Run("of a build without GoReleaser", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), program)
		if _, err := shell(folder, "go build -buildvcs=true -o "+file+" ."); err != nil {
			t.Fatal(err)
		}
		expectVersion(t, file, "v"+version)
	})
}

func expectVersion(t *testing.T, file, version string) {
	t.Helper()
	output, err := exec.Command(file, "--version").Output()
	var exit *exec.ExitError
	if want := program + " version " + version + "\n"; string(output) != want || !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Errorf("%s --version printed %q and ended with %v, want %q and exit code 3", file, output, err, want)
	}
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
