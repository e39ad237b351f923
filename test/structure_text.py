"""Small PDB and mmCIF texts, written atom by atom, for the tests of the reader."""


def atom(name, residue="ALA", number=1, xyz=(0, 0, 0), **others):
    """One atom as a dict; the keys are what both formats need."""
    keys = dict(record="ATOM", altloc="", chain="A", insertion="", occupancy=1.0, b=20.0, model=1)
    element = "C" if name == "CA" else name[0]
    return {
        **keys,
        "element": element,
        "name": name,
        "residue": residue,
        "number": number,
        "xyz": xyz,
        **others,
    }


def backbone(residue, number, **others):
    """N, CA, C along a line, so that residues with consecutive numbers are bonded (C-N 1.4 Å)."""
    x = 3.8 * number
    return [
        atom(name, residue, number, (x + shift, 0.0, 0.0), **others)
        for name, shift in (("N", -1.2), ("CA", 0.0), ("C", 1.2))
    ]


def pdb_line(a):
    name = a["name"] if len(a["name"]) == 4 or len(a["element"]) == 2 else " " + a["name"]
    xyz = "".join(f"{x:8.3f}" if isinstance(x, (int, float)) else f"{x:>8}" for x in a["xyz"])
    return (
        f"{a['record']:6}{1:5} {name:4}{a['altloc']:1}{a['residue']:>3} {a['chain']:1}{a['number']:>4}"
        f"{a['insertion']:1}   {xyz}{a['occupancy']:6.2f}{a['b']:6.2f}          {a['element']:>2}\n"
    )


def pdb_text(*parts, header=""):
    """Atoms, lists of atoms and literal records one after the other."""
    text = header
    for part in parts:
        if isinstance(part, str):
            text += part + "\n"
        else:
            text += "".join(pdb_line(a) for a in ([part] if isinstance(part, dict) else part))
    return text


CIF_ATOM_KEYS = (
    "group_PDB id type_symbol label_atom_id label_alt_id label_comp_id label_asym_id label_entity_id "
    "label_seq_id pdbx_PDB_ins_code Cartn_x Cartn_y Cartn_z occupancy B_iso_or_equiv auth_seq_id "
    "auth_asym_id pdbx_PDB_model_num"
).split()


def cif_text(atoms, header="", entities=(("1", "polymer"),), labels=None):
    """mmCIF of the same atoms; an atom's key `entity` says which entity it is in, "1" if absent."""
    lines = ["data_test", header, "loop_", "_entity.id", "_entity.type"]
    lines += [f"{key} {kind}" for key, kind in entities]
    if ("1", "polymer") in entities:
        lines += ["_entity_poly.entity_id 1", "_entity_poly.type 'polypeptide(L)'"]
    lines += ["loop_", *(f"_atom_site.{key}" for key in CIF_ATOM_KEYS)]
    for i, a in enumerate(atoms, 1):
        entity = a.get("entity", "1")
        label = (labels or {}).get(a["chain"], a["chain"]) + ("" if entity == "1" else "2")
        columns = [a["record"], i, a["element"], a["name"], a["altloc"] or ".", a["residue"], label, entity]
        columns += [
            a["number"] if entity == "1" else ".",
            a["insertion"] or "?",
            *a["xyz"],
            a["occupancy"],
            a["b"],
        ]
        columns += [a["number"], a["chain"], a["model"]]
        lines.append(" ".join(map(str, columns)))
    return "\n".join(lines) + "\n#\n"


def write(path, content):
    """Write text or bytes into a file."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def names(structure):
    return structure.residue_names.tolist()


def numbers(structure):
    return structure.residue_numbers.tolist()
