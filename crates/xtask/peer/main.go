// The peer of `cargo xtask bench`: the provider of the conformance tests, as far as the benchmarks use it, written with
// HashiCorp's framework for Go. Same address, same configuration, same resource with the same attributes, same files.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"os"
	"path/filepath"
	"syscall"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/provider"
	providerschema "github.com/hashicorp/terraform-plugin-framework/provider/schema"
	"github.com/hashicorp/terraform-plugin-framework/providerserver"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/identityschema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/int64default"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

func main() {
	options := providerserver.ServeOpts{Address: "registry.terraform.io/example/corner"}
	err := providerserver.Serve(context.Background(), func() provider.Provider { return &corner{} }, options)
	usage()
	if err != nil {
		log.Fatal(err)
	}
}

// Adds what this process has used to the file that the benchmark names.
func usage() {
	file := os.Getenv("CORNER_USAGE")
	if file == "" {
		return
	}
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		log.Fatal(err)
	}
	micros := (used.Utime.Sec+used.Stime.Sec)*1_000_000 + int64(used.Utime.Usec) + int64(used.Stime.Usec)
	out, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		log.Fatal(err)
	}
	defer out.Close()
	fmt.Fprintf(out, "%d %d\n", used.Maxrss, micros)
}

type corner struct{}

type cornerModel struct {
	Folder types.String `tfsdk:"folder"`
}

func (*corner) Metadata(_ context.Context, _ provider.MetadataRequest, out *provider.MetadataResponse) {
	out.TypeName = "corner"
	out.Version = "1.2.3"
}

func (*corner) Schema(_ context.Context, _ provider.SchemaRequest, out *provider.SchemaResponse) {
	out.Schema = providerschema.Schema{
		Attributes: map[string]providerschema.Attribute{
			"folder": providerschema.StringAttribute{Required: true, MarkdownDescription: "A folder."},
		},
	}
}

func (*corner) Configure(ctx context.Context, in provider.ConfigureRequest, out *provider.ConfigureResponse) {
	var config cornerModel
	out.Diagnostics.Append(in.Config.Get(ctx, &config)...)
	out.ResourceData = config.Folder.ValueString()
}

func (*corner) DataSources(context.Context) []func() datasource.DataSource { return nil }

func (*corner) Resources(context.Context) []func() resource.Resource {
	return []func() resource.Resource{func() resource.Resource { return &item{} }}
}

type item struct{ folder string }

type itemModel struct {
	ID             types.String `tfsdk:"id"`
	Shelf          types.String `tfsdk:"shelf"`
	Name           types.String `tfsdk:"name"`
	Size           types.Int64  `tfsdk:"size"`
	LabelWO        types.String `tfsdk:"label_wo"`
	LabelWOVersion types.Int64  `tfsdk:"label_wo_version"`
	LabelLength    types.Int64  `tfsdk:"label_length"`
	AskedBy        types.String `tfsdk:"asked_by"`
	Revision       types.Int64  `tfsdk:"revision"`
}

type identityModel struct {
	ID    types.String `tfsdk:"id"`
	Shelf types.String `tfsdk:"shelf"`
}

// What a file holds.
type stored struct {
	Shelf    string `json:"shelf"`
	Name     string `json:"name"`
	Size     int64  `json:"size"`
	Version  *int64 `json:"label_wo_version"`
	Length   int64  `json:"label_length"`
	Revision int64  `json:"revision"`
}

func (*item) Metadata(_ context.Context, in resource.MetadataRequest, out *resource.MetadataResponse) {
	out.TypeName = in.ProviderTypeName + "_item"
}

func (*item) Schema(_ context.Context, _ resource.SchemaRequest, out *resource.SchemaResponse) {
	keep := []planmodifier.String{stringplanmodifier.UseStateForUnknown()}
	replace := []planmodifier.String{stringplanmodifier.RequiresReplace()}
	out.Schema = schema.Schema{
		Version: 1,
		Attributes: map[string]schema.Attribute{
			"id":               schema.StringAttribute{Computed: true, PlanModifiers: keep, MarkdownDescription: "Made of the name."},
			"shelf":            schema.StringAttribute{Optional: true, Computed: true, PlanModifiers: append(keep, replace...), MarkdownDescription: "Where it stands."},
			"name":             schema.StringAttribute{Required: true, PlanModifiers: replace, MarkdownDescription: "What it is called."},
			"size":             schema.Int64Attribute{Optional: true, Computed: true, Default: int64default.StaticInt64(1), MarkdownDescription: "How big it is."},
			"label_wo":         schema.StringAttribute{Optional: true, WriteOnly: true, Sensitive: true, MarkdownDescription: "What stands on it."},
			"label_wo_version": schema.Int64Attribute{Optional: true, MarkdownDescription: "Raise it to change the label."},
			"label_length":     schema.Int64Attribute{Computed: true, MarkdownDescription: "What has arrived of the label."},
			"asked_by":         schema.StringAttribute{Computed: true, MarkdownDescription: "The module that has asked for the last change."},
			"revision":         schema.Int64Attribute{Computed: true, MarkdownDescription: "How often it was changed."},
		},
	}
}

func (*item) IdentitySchema(_ context.Context, _ resource.IdentitySchemaRequest, out *resource.IdentitySchemaResponse) {
	out.IdentitySchema = identityschema.Schema{
		Version: 1,
		Attributes: map[string]identityschema.Attribute{
			"id":    identityschema.StringAttribute{RequiredForImport: true},
			"shelf": identityschema.StringAttribute{OptionalForImport: true},
		},
	}
}

func (r *item) Configure(_ context.Context, in resource.ConfigureRequest, _ *resource.ConfigureResponse) {
	if folder, ok := in.ProviderData.(string); ok {
		r.folder = folder
	}
}

func (r *item) file(id string) string { return filepath.Join(r.folder, id+".json") }

// Decides what the plan left open, and writes the file.
func (r *item) finish(ctx context.Context, planned, config *itemModel, revision int64) error {
	planned.ID = types.StringValue("item-" + planned.Name.ValueString())
	if planned.Shelf.IsUnknown() || planned.Shelf.IsNull() {
		planned.Shelf = types.StringValue("floor")
	}
	planned.LabelLength = types.Int64Value(int64(len(config.LabelWO.ValueString())))
	planned.LabelWO = types.StringNull()
	planned.AskedBy = types.StringNull()
	planned.Revision = types.Int64Value(revision)
	text, err := json.Marshal(stored{
		Shelf: planned.Shelf.ValueString(), Name: planned.Name.ValueString(), Size: planned.Size.ValueInt64(),
		Version: planned.LabelWOVersion.ValueInt64Pointer(), Length: planned.LabelLength.ValueInt64(), Revision: revision,
	})
	if err != nil {
		return err
	}
	return os.WriteFile(r.file(planned.ID.ValueString()), text, 0o644)
}

func (r *item) Create(ctx context.Context, in resource.CreateRequest, out *resource.CreateResponse) {
	var planned, config itemModel
	out.Diagnostics.Append(in.Plan.Get(ctx, &planned)...)
	out.Diagnostics.Append(in.Config.Get(ctx, &config)...)
	if out.Diagnostics.HasError() {
		return
	}
	if err := r.finish(ctx, &planned, &config, 1); err != nil {
		out.Diagnostics.AddError("Cannot write", err.Error())
		return
	}
	out.Diagnostics.Append(out.Private.SetKey(ctx, "revision", []byte("1"))...)
	out.Diagnostics.Append(out.State.Set(ctx, &planned)...)
	out.Diagnostics.Append(out.Identity.Set(ctx, &identityModel{planned.ID, planned.Shelf})...)
}

func (r *item) Read(ctx context.Context, in resource.ReadRequest, out *resource.ReadResponse) {
	var state itemModel
	out.Diagnostics.Append(in.State.Get(ctx, &state)...)
	if out.Diagnostics.HasError() {
		return
	}
	text, err := os.ReadFile(r.file(state.ID.ValueString()))
	if errors.Is(err, fs.ErrNotExist) {
		out.State.RemoveResource(ctx)
		return
	}
	var found stored
	if err == nil {
		err = json.Unmarshal(text, &found)
	}
	if err != nil {
		out.Diagnostics.AddError("Cannot read", err.Error())
		return
	}
	state.Shelf, state.Name = types.StringValue(found.Shelf), types.StringValue(found.Name)
	state.Size, state.LabelWOVersion = types.Int64Value(found.Size), types.Int64PointerValue(found.Version)
	state.LabelLength, state.Revision = types.Int64Value(found.Length), types.Int64Value(found.Revision)
	out.Diagnostics.Append(out.Private.SetKey(ctx, "revision", []byte(fmt.Sprint(found.Revision)))...)
	out.Diagnostics.Append(out.State.Set(ctx, &state)...)
	out.Diagnostics.Append(out.Identity.Set(ctx, &identityModel{state.ID, state.Shelf})...)
}

func (r *item) Update(ctx context.Context, in resource.UpdateRequest, out *resource.UpdateResponse) {
	var prior, planned, config itemModel
	out.Diagnostics.Append(in.State.Get(ctx, &prior)...)
	out.Diagnostics.Append(in.Plan.Get(ctx, &planned)...)
	out.Diagnostics.Append(in.Config.Get(ctx, &config)...)
	if out.Diagnostics.HasError() {
		return
	}
	if err := r.finish(ctx, &planned, &config, prior.Revision.ValueInt64()+1); err != nil {
		out.Diagnostics.AddError("Cannot write", err.Error())
		return
	}
	out.Diagnostics.Append(out.State.Set(ctx, &planned)...)
}

func (r *item) Delete(ctx context.Context, in resource.DeleteRequest, out *resource.DeleteResponse) {
	var prior itemModel
	out.Diagnostics.Append(in.State.Get(ctx, &prior)...)
	if out.Diagnostics.HasError() {
		return
	}
	if err := os.Remove(r.file(prior.ID.ValueString())); err != nil && !errors.Is(err, fs.ErrNotExist) {
		out.Diagnostics.AddError("Cannot delete", err.Error())
	}
}

func (r *item) ImportState(ctx context.Context, in resource.ImportStateRequest, out *resource.ImportStateResponse) {
	resource.ImportStatePassthroughWithIdentity(ctx, path.Root("id"), path.Root("id"), in, out)
}
