package inventory

import (
	"context"
	"slices"
	"strings"
)

// InstanceInformation is the type that the server itself provides for each node.
const InstanceInformation = "AWS:InstanceInformation"

const (
	awsPrefix    = "AWS:"
	customPrefix = "Custom:"
)

// Schema lists the attributes of a type.
type Schema struct {
	Type, Version string
	Attributes    []string
}

// known returns AWS's types, by name: those that its agent collects, and
// [InstanceInformation].
func known() []Schema {
	program := []string{
		"Name",
		"ApplicationType",
		"Publisher",
		"Version",
		"Release",
		"Epoch",
		"InstalledTime",
		"Architecture",
		"URL",
		"Summary",
		"PackageId",
	}
	return []Schema{
		{"AWS:AWSComponent", "1.0", program},
		{"AWS:Application", "1.1", program},
		{"AWS:BillingInfo", "1.0", []string{"BillingProductId"}},
		{"AWS:File", "1.0", []string{
			"Name", "Size", "Description", "FileVersion", "InstalledDate", "ModificationTime", "LastAccessTime", "ProductName",
			"InstalledDir",
			"ProductLanguage", "CompanyName", "ProductVersion",
		}},
		{"AWS:InstanceDetailedInformation", "1.0", []string{
			"CPUModel", "CPUCores", "CPUs", "CPUSpeedMHz", "CPUSockets", "CPUHyperThreadEnabled", "OSServicePack",
			"KernelVersion",
		}},
		{InstanceInformation, "1.0", []string{
			"AgentType", "AgentVersion", "ComputerName", "InstanceId", "InstanceStatus", "IpAddress", "PlatformName",
			"PlatformType", "PlatformVersion", "ResourceType",
		}},
		{
			"AWS:Network",
			"1.0",
			[]string{"Name", "SubnetMask", "Gateway", "DHCPServer", "DNSServer", "MacAddress", "IPV4", "IPV6"},
		},
		{
			"AWS:Service",
			"1.0",
			[]string{
				"Name",
				"DisplayName",
				"ServiceType",
				"Status",
				"DependentServices",
				"ServicesDependedOn",
				"StartType",
			},
		},
		{"AWS:WindowsRegistry", "1.0", []string{"ValueName", "ValueType", "KeyPath", "Value"}},
		{"AWS:WindowsRole", "1.0", []string{
			"Name", "DisplayName", "Description", "Path", "FeatureType", "DependsOn", "SubFeatures", "Installed",
			"InstalledState", "ServerComponentDescriptor", "Parent",
		}},
		{"AWS:WindowsUpdate", "1.0", []string{"HotFixId", "Description", "InstalledTime", "InstalledBy"}},
	}
}

// Known reports whether a type is one of AWS's or a custom one.
func Known(typ string) bool {
	name, own := strings.CutPrefix(typ, customPrefix)
	return own && name != "" || slices.ContainsFunc(known(), func(s Schema) bool { return s.Type == typ })
}

// checkType refuses unknown types and versions. It does not compare attributes
// with the schema, because agents of other versions send others.
func checkType(typ, version string) error {
	if !Known(typ) {
		return refuse(UnknownType, typ, "Unknown inventory type %q. Custom types begin with %s.", typ, customPrefix)
	}
	if strings.HasPrefix(typ, awsPrefix) && !strings.HasPrefix(version, "1.") {
		return refuse(UnknownSchema, typ, "The schema version of %s must be 1.x, not %q.", typ, version)
	}
	return nil
}

// Schemas returns AWS's types and the custom types of all nodes, by name.
func (r *Registry) Schemas(ctx context.Context) ([]Schema, error) {
	all := known()
	rows, err := r.store.InventoryTypes(ctx)
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		if !strings.HasPrefix(row.Type, customPrefix) {
			continue
		}
		// Nodes can report different attributes of one type.
		if last := &all[len(all)-1]; last.Type == row.Type && last.Version == row.Version {
			more := append(slices.Clone(last.Attributes), row.Attributes...)
			slices.Sort(more)
			more = slices.Compact(more)
			last.Attributes = more[:min(len(more), maxAttrsAll)]
			continue
		}
		all = append(all, Schema{row.Type, row.Version, row.Attributes})
	}
	return all, nil
}
