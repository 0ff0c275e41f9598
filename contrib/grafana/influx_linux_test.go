package grafana_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"check_network_connections/contrib/e2e"
)

// influx is the address of an InfluxDB and the database in it.
type influx struct {
	port   int
	name   string
	writer int // the port that is written to, 0 for the same
}

// influxSeries is a series as InfluxDB answers it. The first column is the time,
// except for metadata.
type influxSeries struct {
	Tags    map[string]string `json:"tags"`
	Columns []string          `json:"columns"`
	Values  [][]any           `json:"values"`
}

func (i influx) url(path string) string {
	return "http://127.0.0.1:" + strconv.Itoa(i.port) + path
}

func (i influx) query(t *testing.T, query string) []influxSeries {
	t.Helper()
	response, err := http.PostForm(i.url("/query"), url.Values{"db": {i.name}, "epoch": {"ms"}, "q": {query}})
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var answer struct {
		Error   string
		Results []struct {
			Error  string
			Series []influxSeries
		}
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	if answer.Error != "" || len(answer.Results) != 1 || answer.Results[0].Error != "" {
		t.Fatalf("%s: %+v", query, answer)
	}
	return answer.Results[0].Series
}

func startInflux(t *testing.T) influx {
	t.Helper()
	dir := t.TempDir()
	database := influx{port: e2e.FreePort(t), name: "icinga2"}
	configuration := filepath.Join(dir, "influxdb.conf")
	write(t, configuration, fmt.Sprintf(influxConfiguration, e2e.FreePort(t), database.port, dir))
	e2e.Start(t, exec.Command("influxd", "-config", configuration))
	e2e.WaitFor(t, 20*time.Second, "InfluxDB", func() bool {
		response, err := http.Get(database.url("/ping"))
		if err != nil {
			return false
		}
		defer response.Body.Close()
		return response.StatusCode == http.StatusNoContent
	})
	database.query(t, "CREATE DATABASE icinga2")
	return database
}

// serveSecond takes what the writer for InfluxDB 2 sends as an InfluxDB 2 does, and
// keeps it in another database of InfluxDB 1: no registry has a second one. The
// queries are in InfluxQL, which both answer.
func serveSecond(t *testing.T, first influx) influx {
	t.Helper()
	second := influx{port: first.port, name: "second"}
	first.query(t, "CREATE DATABASE "+second.name)
	server := httptest.NewServer(http.HandlerFunc(func(answer http.ResponseWriter, request *http.Request) {
		given := request.URL.Query()
		if request.URL.Path != "/api/v2/write" || request.Header.Get("Authorization") != "Token "+secondToken ||
			given.Get("org") != secondOrganization || given.Get("bucket") != "icinga2" {
			http.Error(answer, "an InfluxDB 2 would refuse this", http.StatusBadRequest)
			return
		}
		response, err := http.Post(first.url("/write?db="+second.name+"&precision="+given.Get("precision")), "", request.Body)
		if err != nil {
			http.Error(answer, err.Error(), http.StatusInternalServerError)
			return
		}
		_ = response.Body.Close()
		answer.WriteHeader(response.StatusCode)
	}))
	t.Cleanup(server.Close)
	address, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	second.writer, _ = strconv.Atoi(address.Port())
	return second
}

// startIcinga starts an Icinga 2 that writes to both.
func startIcinga(t *testing.T, plugin string, first, second influx) {
	t.Helper()
	icinga := e2e.NewIcinga(t, e2e.NewAuthority(t), "monitoring.example.com")
	icinga.Start(fmt.Sprintf("const PluginContribDir = %q\ninclude %q\n",
		filepath.Dir(plugin), filepath.Join(e2e.Root(), "contrib/icinga2/network_connections.conf")) +
		fmt.Sprintf(icingaConfiguration, first.port, second.writer,
			`"`+strings.Join(hostNames, `", "`)+`"`, service, nrpeService, hostNames[0]))
}

func write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}
