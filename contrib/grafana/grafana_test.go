// Package grafana_test checks the dashboard in this folder: that Grafana can
// import it, and that its queries find what a real Icinga 2 has written to a
// real InfluxDB about sockets that the test holds.
package grafana_test

import (
	"encoding/json"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// dashboard is the part of Grafana's dashboard model that the tests look at.
type dashboard struct {
	ID            *int   `json:"id"`
	UID           string `json:"uid"`
	Title         string `json:"title"`
	SchemaVersion int    `json:"schemaVersion"`
	Time          struct {
		From string `json:"from"`
		To   string `json:"to"`
	} `json:"time"`
	Templating struct {
		List []variable `json:"list"`
	} `json:"templating"`
	Panels []panel `json:"panels"`
}

type variable struct {
	Type       string     `json:"type"`
	Name       string     `json:"name"`
	Label      string     `json:"label"`
	Query      string     `json:"query"`
	Datasource datasource `json:"datasource"`
	Multi      bool       `json:"multi"`
}

type panel struct {
	ID      int    `json:"id"`
	Type    string `json:"type"`
	Title   string `json:"title"`
	GridPos struct {
		X int `json:"x"`
		Y int `json:"y"`
		W int `json:"w"`
		H int `json:"h"`
	} `json:"gridPos"`
	Datasource  datasource `json:"datasource"`
	Interval    string     `json:"interval"`
	Targets     []target   `json:"targets"`
	FieldConfig struct {
		Overrides []struct {
			Matcher struct {
				ID      string `json:"id"`
				Options string `json:"options"`
			} `json:"matcher"`
		} `json:"overrides"`
	} `json:"fieldConfig"`
}

type target struct {
	RefID        string     `json:"refId"`
	Datasource   datasource `json:"datasource"`
	Query        string     `json:"query"`
	RawQuery     bool       `json:"rawQuery"`
	ResultFormat string     `json:"resultFormat"`
	Alias        string     `json:"alias"`
}

type datasource struct {
	Type string `json:"type"`
	UID  string `json:"uid"`
}

// chosenDatasource refers to the InfluxDB that the user picks at the top of the
// dashboard, so that it works wherever it is imported.
var chosenDatasource = datasource{Type: "influxdb", UID: "${datasource}"}

func load(t *testing.T) (dashboard, string) {
	t.Helper()
	text, err := os.ReadFile("network_connections.json")
	if err != nil {
		t.Fatal(err)
	}
	var board dashboard
	if err := json.Unmarshal(text, &board); err != nil {
		t.Fatal(err)
	}
	return board, string(text)
}

func TestDashboardCanBeImported(t *testing.T) {
	board, _ := load(t)
	if board.ID != nil {
		t.Errorf("id is %d, but only a Grafana gives numbers to its dashboards", *board.ID)
	}
	if !regexp.MustCompile(`^[A-Za-z0-9_-]{8,40}$`).MatchString(board.UID) {
		t.Errorf("uid %q is not 8 to 40 letters, digits, - and _", board.UID)
	}
	if board.Title == "" {
		t.Error("the title is missing")
	}
	if board.SchemaVersion < 36 {
		t.Errorf("schemaVersion is %d, but references to data sources by uid need 36 (Grafana 9)", board.SchemaVersion)
	}
	if board.Time.From == "" || board.Time.To == "" {
		t.Errorf("the time range %+v is incomplete", board.Time)
	}
	if len(board.Panels) == 0 {
		t.Error("there are no panels")
	}
	ids, titles := map[int]bool{}, map[string]bool{}
	for _, panel := range board.Panels {
		if panel.ID < 1 || ids[panel.ID] {
			t.Errorf("panel %q: id %d is not positive or taken", panel.Title, panel.ID)
		}
		if panel.Title == "" || titles[panel.Title] {
			t.Errorf("panel %d: the title %q is empty or taken", panel.ID, panel.Title)
		}
		if !slices.Contains([]string{"stat", "table", "timeseries"}, panel.Type) {
			t.Errorf("panel %q: type %q does not come with every Grafana since 9", panel.Title, panel.Type)
		}
		if panel.Datasource != chosenDatasource {
			t.Errorf("panel %q: data source is %v, want %v", panel.Title, panel.Datasource, chosenDatasource)
		}
		ids[panel.ID], titles[panel.Title] = true, true
	}
}

func TestPanelsFitTheGridWithoutOverlaps(t *testing.T) {
	board, _ := load(t)
	for i, one := range board.Panels {
		a := one.GridPos
		if a.X < 0 || a.Y < 0 || a.W < 1 || a.H < 1 || a.X+a.W > 24 {
			t.Errorf("panel %q does not fit into 24 columns: %+v", one.Title, a)
		}
		for _, other := range board.Panels[:i] {
			b := other.GridPos
			if a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H && b.Y < a.Y+a.H {
				t.Errorf("panels %q and %q overlap", one.Title, other.Title)
			}
		}
	}
}

func TestEveryPanelAsksTheChosenDatasource(t *testing.T) {
	board, _ := load(t)
	for _, panel := range board.Panels {
		asked := map[string]bool{}
		for _, target := range panel.Targets {
			name := panel.Title + "/" + target.RefID
			if target.RefID == "" || asked[target.RefID] {
				t.Errorf("%s: refId is empty or taken", name)
			}
			if target.Query == "" || !target.RawQuery {
				t.Errorf("%s: the query is missing or not marked as raw", name)
			}
			if !strings.Contains(target.Query, "$timeFilter") {
				t.Errorf("%s: the query ignores the time range: %s", name, target.Query)
			}
			if target.Datasource != chosenDatasource {
				t.Errorf("%s: data source is %v, want %v", name, target.Datasource, chosenDatasource)
			}
			asked[target.RefID] = true
		}
		if len(asked) == 0 {
			t.Errorf("panel %q asks for nothing", panel.Title)
		}
		for _, override := range panel.FieldConfig.Overrides {
			if matcher := override.Matcher; matcher.ID == "byFrameRefID" && !asked[matcher.Options] {
				t.Errorf("panel %q changes the look of a query %q that it does not have", panel.Title, matcher.Options)
			}
		}
	}
}

// variableUse finds ${name}, ${name:format} and $name. What stands behind $tag_
// in an alias is a tag, and what begins with __ comes from Grafana itself.
var variableUse = regexp.MustCompile(`\$\{?([A-Za-z]\w*)`)

func TestVariablesAreDefinedAndUsed(t *testing.T) {
	board, text := load(t)
	used := map[string]bool{}
	for _, match := range variableUse.FindAllStringSubmatch(text, -1) {
		if name := match[1]; name != "timeFilter" && !strings.HasPrefix(name, "tag_") {
			used[name] = true
		}
	}
	defined := map[string]bool{}
	for _, variable := range board.Templating.List {
		defined[variable.Name] = true
		if variable.Label == "" || variable.Query == "" {
			t.Errorf("variable %q has no label or no query", variable.Name)
		}
		if variable.Type == "query" && variable.Datasource != chosenDatasource {
			t.Errorf("variable %q: data source is %v, want %v", variable.Name, variable.Datasource, chosenDatasource)
		}
		if variable.Type == "datasource" && variable.Query != chosenDatasource.Type {
			t.Errorf("variable %q offers data sources of type %q", variable.Name, variable.Query)
		}
		// A variable can only depend on those before it.
		for _, match := range variableUse.FindAllStringSubmatch(variable.Query, -1) {
			if !defined[match[1]] || match[1] == variable.Name {
				t.Errorf("variable %q needs %q, which comes later or never", variable.Name, match[1])
			}
		}
	}
	if !maps.Equal(used, defined) {
		t.Errorf("used:    %v\ndefined: %v", slices.Sorted(maps.Keys(used)), slices.Sorted(maps.Keys(defined)))
	}
	// The names that icingaweb2-module-grafana gives.
	if !defined["hostname"] || !defined["service"] {
		t.Error("there is no variable for the host or for the service")
	}
}
