//go:build linux

package kernels_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"check_network_connections/contrib/e2e"
)

// sentence names the kernels.
func sentence() string {
	var versions []string
	processors := map[string][]string{}
	for _, k := range kernels {
		if processors[k.version] == nil {
			versions = append(versions, k.version)
		}
		processors[k.version] = append(processors[k.version], k.processor)
	}
	for i, version := range versions {
		versions[i] = fmt.Sprintf("%s (%s)", version, strings.Join(processors[version], ", "))
	}
	last := len(versions) - 1
	return "Everything that depends on the kernel is tested on Debian's Linux " +
		strings.Join(versions[:last], ", ") + " and " + versions[last] + "."
}

func TestTheReadmeNamesTheKernels(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join(e2e.Root(), "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join(strings.Fields(string(readme)), " ") // whatever the lines
	if want := sentence(); !strings.Contains(text, want) {
		t.Errorf("README.md lacks the sentence: %s", want)
	}
}
