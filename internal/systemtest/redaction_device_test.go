package systemtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"log/slog"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"zeropass.dev/zeropass/internal/device"
)

// secretOnes are what package device takes and gives with secrets in it.
var secretOnes = []any{
	device.InviteResult{}, device.HeldShare{}, device.PaperResult{},
	device.InitOptions{}, device.RecoverOptions{}, device.JoinOptions{},
}

// openOnes have none: what they hold is shown on a screen or in an answer.
var openOnes = []any{
	device.AcceptResult{}, device.ActivityEntry{}, device.AddResult{}, device.Alarms{}, device.Event{}, device.Seen{}, device.ApproveDeviceOptions{}, device.ApproveOptions{},
	device.ApproveResult{}, device.Comparison{}, device.ConfirmOptions{}, device.ConfirmResult{}, device.Contact{},
	device.ContactList{}, device.DeviceInfo{}, device.DevicePhrases{}, device.Entry{}, device.FinishOptions{},
	device.FinishResult{}, device.FollowResult{}, device.FollowedActivity{}, device.HeadText{}, device.ImportResult{}, device.InitResult{},
	device.JoinResult{}, device.JoinShown{}, device.JoiningDevice{}, device.KnownOwner{}, device.LostItem{},
	device.NextEpoch{}, device.Options{}, device.PaperConfirmed{}, device.PendingInvitation{}, device.PendingItem{},
	device.Phrases{}, device.Policy{}, device.PolicyResult{}, device.Progress{}, device.Proof{}, device.RebindResult{},
	device.RecoveryRequest{}, device.RecoveryResult{}, device.ReplaceResult{}, device.RotateOptions{}, device.RotateResult{},
	device.SeenVeto{}, device.SheetConfirmed{}, device.Status{}, device.Suspect{}, device.Suspects{}, device.SyncResult{},
	device.VerifyResult{}, device.Waiting{}, device.WaitingDevice{}, device.Error{}, device.Move{}, device.ServerResult{},
}

// secretNames as names of fields mean that its struct is one of secretOnes.
var secretNames = []string{"Words", "Passphrase", "ConfirmPassphrase", "Secret", "Share", "Page", "Item", "Items"}

// Whoever prints, logs or encodes an answer of package device does not spread
// what is secret in it.
func TestSecretsInAnswersAreSilent(t *testing.T) {
	for _, v := range secretOnes {
		filled := reflect.New(reflect.TypeOf(v))
		canaries := 0
		fill(filled.Elem(), &canaries)
		if canaries == 0 {
			t.Errorf("%T has nothing to hide", v)
		}
		out := printed(filled.Elem().Interface()) + printed(filled.Interface()) +
			printed([]any{filled.Elem().Interface()}) + printed(struct{ In any }{filled.Interface()})
		for _, form := range []string{canary, fmt.Sprintf("%x", canary), strings.Trim(fmt.Sprint([]byte(canary)), "[]"), "Y2FuYXJ5"} {
			if strings.Contains(out, form) {
				t.Errorf("%T is printed with what is in it: %.200s", v, out)
				break
			}
		}
	}
	for _, v := range openOnes {
		kind := reflect.TypeOf(v)
		for i := range kind.NumField() {
			if f := kind.Field(i); slices.Contains(secretNames, f.Name) && f.Type.Kind() != reflect.Func && f.Type.Kind() != reflect.Int {
				t.Errorf("%T.%s looks like a secret: is it one?", v, f.Name)
			}
		}
	}
}

const canary = "canary"

// fill puts canaries into every text and list of bytes.
func fill(v reflect.Value, canaries *int) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(canary)
		*canaries++
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			v.SetBytes([]byte(canary))
			*canaries++
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			return
		}
		for i := range v.NumField() {
			if v.Field(i).CanSet() {
				fill(v.Field(i), canaries)
			}
		}
	case reflect.Pointer:
		if v.Type().Elem().Kind() == reflect.Struct {
			v.Set(reflect.New(v.Type().Elem()))
			fill(v.Elem(), canaries)
		}
	}
}

// printed is v in every way in which somebody may come to print it.
func printed(v any) string {
	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		fmt.Fprintf(&out, verb, v)
	}
	fmt.Fprint(&out, v)
	b, err := json.Marshal(v)
	fmt.Fprintf(&out, "%s%v", b, err)
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("text", "v", v)
	slog.New(slog.NewTextHandler(&log, nil)).Info("text", "v", v)
	return out.String() + log.String()
}

// Every exported struct of package device is in one of the lists.
func TestEveryAnswerIsInAList(t *testing.T) {
	paths, err := filepath.Glob("../device/*.go")
	must(t, err)
	listed := map[string]bool{"Device": true} // its keys are silent, see TestSecretsInUnexportedFieldsAreSilent
	for _, v := range append(slices.Clone(secretOnes), openOnes...) {
		listed[reflect.TypeOf(v).Name()] = true
	}
	found := 0
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		must(t, err)
		for _, d := range file.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, spec := range g.Specs {
				s, ok := spec.(*ast.TypeSpec)
				if !ok || !s.Name.IsExported() {
					continue
				}
				if _, isStruct := s.Type.(*ast.StructType); !isStruct {
					continue
				}
				if found++; !listed[s.Name.Name] {
					t.Errorf("device.%s is in no list: has it secrets?", s.Name.Name)
				}
			}
		}
	}
	if found != len(listed) {
		t.Errorf("%d structs are listed, and %d are there", len(listed), found)
	}
}
