package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// A local name that hides a package-level one, or an import, makes a reader
// look in the wrong place.
func TestNoLocalNameHidesAPackageLevelName(t *testing.T) {
	files := token.NewFileSet()
	paths, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	parsed := map[string]*ast.File{}
	for _, name := range paths {
		if parsed[name], err = parser.ParseFile(files, name, nil, parser.SkipObjectResolution); err != nil {
			t.Fatal(err)
		}
	}
	names := map[string]bool{}
	for name, file := range parsed {
		if strings.HasSuffix(name, "_test.go") {
			continue // whoever reads the program does not look there
		}
		for _, declared := range packageNames(file) {
			names[declared] = true
		}
	}
	for _, file := range parsed {
		imports := map[string]bool{}
		for _, spec := range file.Imports {
			imported, _ := strconv.Unquote(spec.Path.Value)
			imports[path.Base(imported)] = spec.Name == nil
			if spec.Name != nil {
				imports[spec.Name.Name] = true
			}
		}
		for _, declaration := range file.Decls {
			for _, local := range localNames(declaration) {
				if (names[local.Name] || imports[local.Name]) && local.Name != "_" {
					t.Errorf("%s: %s hides another name", files.Position(local.Pos()), local.Name)
				}
			}
		}
	}
}

// packageNames returns what a file declares for the whole package.
func packageNames(file *ast.File) (names []string) {
	for _, declaration := range file.Decls {
		switch d := declaration.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil {
				names = append(names, d.Name.Name)
			}
		case *ast.GenDecl:
			for _, one := range specNames(d) {
				names = append(names, one.Name)
			}
		}
	}
	return names
}

// specNames returns what a declaration of constants, variables or types names.
func specNames(d *ast.GenDecl) (names []*ast.Ident) {
	for _, spec := range d.Specs {
		switch s := spec.(type) {
		case *ast.ValueSpec:
			names = append(names, s.Names...)
		case *ast.TypeSpec:
			names = append(names, s.Name)
		}
	}
	return names
}

// localNames returns what is named inside of a function, with its parameters.
func localNames(declaration ast.Decl) (names []*ast.Ident) {
	add := func(expressions ...ast.Expr) {
		for _, expression := range expressions {
			if name, isName := expression.(*ast.Ident); isName {
				names = append(names, name)
			}
		}
	}
	addFields := func(list *ast.FieldList) {
		if list != nil {
			for _, field := range list.List {
				names = append(names, field.Names...)
			}
		}
	}
	if function, isFunction := declaration.(*ast.FuncDecl); isFunction {
		addFields(function.Recv)
	}
	ast.Inspect(declaration, func(node ast.Node) bool {
		switch n := node.(type) {
		case *ast.FuncType:
			addFields(n.Params)
			addFields(n.Results)
		case *ast.AssignStmt:
			if n.Tok == token.DEFINE {
				add(n.Lhs...)
			}
		case *ast.RangeStmt:
			if n.Tok == token.DEFINE {
				add(n.Key, n.Value)
			}
		case *ast.DeclStmt:
			names = append(names, specNames(n.Decl.(*ast.GenDecl))...)
		}
		return true
	})
	return names
}
