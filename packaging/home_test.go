package packaging_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"check_network_connections/contrib/e2e"
)

// CONTRIBUTING.md lists every file that depends on the public home that the
// repository does not have yet, and nothing pretends that there is one.
func TestOnePlaceSaysWhatNeedsAPublicHome(t *testing.T) {
	guide, err := os.ReadFile(filepath.Join(e2e.Root(), "CONTRIBUTING.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(guide), "\n## Once there is a public home\n")
	var listed, found []string
	for _, match := range regexp.MustCompile("(?m)^- `([^`]+)`:").FindAllStringSubmatch(section, -1) {
		listed = append(listed, match[1])
	}
	files, err := trackedFiles()
	if err != nil {
		t.Fatal(err)
	}
	pretended := regexp.MustCompile(`@example\.|https?://(\w+\.)*example\.(org|com|net)`)
	for _, name := range files {
		content, err := os.ReadFile(filepath.Join(e2e.Root(), name))
		if err != nil {
			t.Fatal(err)
		}
		text := strings.Join(strings.Fields(string(content)), " ")
		if name != "CONTRIBUTING.md" && !strings.HasSuffix(name, "_test.go") && strings.Contains(text, "no public home yet") {
			found = append(found, name)
		}
		if address := pretended.FindString(text); address != "" && !strings.HasSuffix(name, ".go") {
			t.Errorf("%s has the address %s, which nobody reads", name, address)
		}
	}
	equal(t, "files that need a public home", found, listed)
}
