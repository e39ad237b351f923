"""The archives of AlphaFold DB: of which organisms, under which names, since which release."""
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

#: Releases that have archives; of release 5 none are known.
VERSIONS = (1, 2, 3, 4, 6)
#: The release that TorchDrug reads, whose checksums are known.
VERSION = 2
#: Where the archives lie, the first address being tried first.
SERVER = "https://ftp.ebi.ac.uk/pub/databases/alphafold"
#: Release 1 holds the model organisms alone.
NUM_MODEL_ORGANISM = 21
SWISS_PROT = 21
# on no list of the archives of release 6 that could be found
NOT_IN_6 = ("UP000325664_1352_ENTFC", "UP000020681_1299332_MYCUL")


@dataclass(frozen=True)
class Species:
    """
    A row of the table.

    Parameters:
        index (int): number in TorchDrug
        stem (str): name of the archive without version and ending, ``<UniProt proteome>_<NCBI taxon>_<mnemonic>``
        name (str): scientific name
        common_name (str): what else it is called, if anything
        num_split (int): number of splits that TorchDrug knows
        md5 (str): MD5 of the archive of release 2, as TorchDrug has it
    """

    index: int
    stem: str
    name: str
    common_name: str
    num_split: int
    md5: str

    @property
    def words(self) -> set[str]:
        """All it may be called, in lower case."""
        words = {self.stem, self.name, self.common_name, str(self.index)}
        if self.index == SWISS_PROT:
            words |= {"swissprot", "swiss prot"}
        else:
            genus, _, rest = self.name.partition(" ")
            words |= {*self.stem.split("_"), f"{genus[0]}. {rest}"}
        return {word.lower() for word in words if word}

    def archive(self, version: int) -> str:
        """File name of its archive in a release, without ``.tar``."""
        return self.stem if version == 1 else f"{self.stem}_v{version}"

    def urls(self, version: int) -> list[str]:
        """Addresses of its archive in a release."""
        folders = [f"v{version}"] + ["latest"] * (version == VERSIONS[-1])
        return [f"{SERVER}/{folder}/{self.archive(version)}.tar" for folder in folders]

    def is_in(self, version: int) -> bool:
        """Whether a release has it."""
        return self.index < NUM_MODEL_ORGANISM if version == 1 else version != 6 or self.stem not in NOT_IN_6


# In the order of TorchDrug, which is that of the download page of release 2: 21 model organisms, Swiss-Prot, and
# organisms of concern for global health that are not among the first.
TABLE = [Species(index, *row) for index, row in enumerate((
    ("UP000006548_3702_ARATH", "Arabidopsis thaliana", "Arabidopsis", 2, "4cd5f596ebfc3d45d9f6b647dc5684af"),
    ("UP000001940_6239_CAEEL", "Caenorhabditis elegans", "nematode worm", 1, "b89bee5507f78f971417cc8fd75b40f7"),
    ("UP000000559_237561_CANAL", "Candida albicans", "", 1, "a6459a1f1a0a22fbf25f1c05c2889ae3"),
    ("UP000000437_7955_DANRE", "Danio rerio", "zebrafish", 2, "24dfba8ab93dbf3f51e7db6b912dd6b4"),
    ("UP000002195_44689_DICDI", "Dictyostelium discoideum", "", 1, "6b81b3086ed9e57e04a54f148ecf974c"),
    ("UP000000803_7227_DROME", "Drosophila melanogaster", "fruit fly", 1, "a50f4fd9f581c89e79e1b2857e54b786"),
    ("UP000000625_83333_ECOLI", "Escherichia coli", "", 1, "fdd16245769bf1f7d91a0e285ac00e52"),
    ("UP000008827_3847_SOYBN", "Glycine max", "soybean", 3, "66b9750c511182bc5f8ee71fe2ab2a17"),
    ("UP000005640_9606_HUMAN", "Homo sapiens", "human", 2, "5dadeb5aac704025cac33f7557794858"),
    ("UP000008153_5671_LEIIN", "Leishmania infantum", "", 1, "99b22e0f050d845782d914becbfe4d2f"),
    ("UP000000805_243232_METJA", "Methanocaldococcus jannaschii", "", 1, "da938dfae4fabf6e144f4b5ede5885ec"),
    ("UP000000589_10090_MOUSE", "Mus musculus", "mouse", 1, "2003c09d437cfb4093552c588a33e06d"),
    ("UP000001584_83332_MYCTU", "Mycobacterium tuberculosis", "", 1, "fba59f386cfa33af3f70ae664b7feac0"),
    ("UP000059680_39947_ORYSJ", "Oryza sativa", "rice", 2, "d7a1a6c02213754ee1a1ffb3b41ad4ba"),
    ("UP000001450_36329_PLAF7", "Plasmodium falciparum", "", 1, "8a0e8deadffec2aba3b7edd6534b7481"),
    ("UP000002494_10116_RAT", "Rattus norvegicus", "rat", 1, "1854d0bbcf819de1de7b0cfdb6d32b2e"),
    ("UP000002311_559292_YEAST", "Saccharomyces cerevisiae", "budding yeast", 1, "d9720e3809db6916405db096b520c236"),
    ("UP000002485_284812_SCHPO", "Schizosaccharomyces pombe", "fission yeast", 1, "6b918e9e4d645b12a80468bcea805f1f"),
    ("UP000008816_93061_STAA8", "Staphylococcus aureus", "", 1, "ed0eefe927eb8c3b81cf87eaabbb8d6e"),
    ("UP000002296_353153_TRYCC", "Trypanosoma cruzi", "", 1, "051369e0dc8fed4798c8b2c68e6cbe2e"),
    ("UP000007305_4577_MAIZE", "Zea mays", "maize", 2, "b05ff57164167851651c625dca66ed28"),
    ("swissprot_pdb", "Swiss-Prot", "", 20, "68e7a6e57bd43cb52e344b3190073387"),
    ("UP000001631_447093_AJECG", "Ajellomyces capsulatus", "", 1, "75d027ac7833f284fda65ea620353e8a"),
    ("UP000006672_6279_BRUMA", "Brugia malayi", "", 1, "7d85bb2ee4130096a6d905ab8d726bcc"),
    ("UP000000799_192222_CAMJE", "Campylobacter jejuni", "", 1, "63498210c88e8bfb1a7346c4ddf73bb1"),
    ("UP000094526_86049_9EURO1", "Cladophialophora carrionii", "", 1, "5bf2211304ef91d60bb3838ec12d89cd"),
    ("UP000274756_318479_DRAME", "Dracunculus medinensis", "", 1, "4981758eb8980e9df970ac6113e4084c"),
    ("UP000325664_1352_ENTFC", "Enterococcus faecium", "", 1, "322431789942595b599d2b86670f41b3"),
    ("UP000053029_1442368_9EURO2", "Fonsecaea pedrosoi", "", 1, "35d7b32e37bcc23d02b12b03b1e0c093"),
    ("UP000000579_71421_HAEIN", "Haemophilus influenzae", "", 1, "1b8847dd786fa41b5b38f5e7aa58b813"),
    ("UP000000429_85962_HELPY", "Helicobacter pylori", "", 1, "126bdbe59fa82d55bfa098b710bdf650"),
    ("UP000007841_1125630_KLEPH", "Klebsiella pneumoniae", "", 1, "6c6d3248ed943dd7137637fc92d7ba37"),
    ("UP000078237_100816_9PEZI1", "Madurella mycetomatis", "", 1, "532203c6877433df5651b95d27685825"),
    ("UP000000806_272631_MYCLE", "Mycobacterium leprae", "", 1, "6e7112411da5843bec576271c44e0a0a"),
    ("UP000020681_1299332_MYCUL", "Mycobacterium ulcerans", "", 1, "0e4f913a9b4672b0ad3cc9c4f2de5c8d"),
    ("UP000000535_242231_NEIG1", "Neisseria gonorrhoeae", "", 1, "a138d0060b2e8a0ef1f90cf3ab7b7ca0"),
    ("UP000006304_1133849_9NOCA1", "Nocardia brasiliensis", "", 1, "04d491dd1c679e91b5a2f3b9f14db555"),
    ("UP000024404_6282_ONCVO", "Onchocerca volvulus", "", 1, "889c051e39305614accdff00414bfa67"),
    ("UP000002059_502779_PARBA", "Paracoccidioides lutzii", "", 1, "cd87cf24e5135c9d729940194ccc65c8"),
    ("UP000002438_208964_PSEAE", "Pseudomonas aeruginosa", "", 1, "75eb8bfe866cf3040f4c08a566c32bc1"),
    ("UP000001014_99287_SALTY", "Salmonella typhimurium", "", 1, "fd8e6ddb9c159aab781a11c287c85feb"),
    ("UP000008854_6183_SCHMA", "Schistosoma mansoni", "", 1, "b91a2e103980b96f755712f2b559ad66"),
    ("UP000002716_300267_SHIDS", "Shigella dysenteriae", "", 1, "26187d09b093649686d7c158aa4fd113"),
    ("UP000018087_1391915_SPOS1", "Sporothrix schenckii", "", 1, "62e16894bb4b8951a82befd24ad4ee21"),
    ("UP000000586_171101_STRR6", "Streptococcus pneumoniae", "", 1, "85c001df1d91788bf3cc1f97230b1dac"),
    ("UP000035681_6248_STRER", "Strongyloides stercoralis", "", 1, "91a25af808351757b101a8c9c787db9e"),
    ("UP000030665_36087_TRITR", "Trichuris trichiura", "", 1, "8b3e8645cc4c2484c331759b9d1df5bc"),
    ("UP000008524_185431_TRYB2", "Trypanosoma brucei", "", 1, "e8a76a6ab290e6743233510e8d1eb4a5"),
    ("UP000270924_6293_WUCBA", "Wuchereria bancrofti", "", 1, "38280bd7804f4c060b0775c4abed9b89"),
))]


def find_species(species, version: int = VERSION) -> list[Species]:
    """
    Find species in the table.

    Parameters:
        species (int, str or list): index in TorchDrug, UniProt proteome (``UP000005640``), mnemonic (``HUMAN``), NCBI
            taxon (``"9606"``), scientific or common name (``Homo sapiens``, ``H. sapiens``, ``human``), ``Swiss-Prot``,
            several of these, or ``all`` that the release has
        version (int, optional): release

    Returns:
        list of Species: each once, in the order given

    Raises:
        ValueError: there is no such release or species, or the release does not have it
    """
    if isinstance(version, bool) or version not in VERSIONS:
        raise ValueError(f"no archives of AlphaFold DB release {version!r} are known; there are "
                         f"{', '.join(map(str, VERSIONS))}")
    if isinstance(species, str) and species.lower() == "all":
        return [row for row in TABLE if row.is_in(version)]
    words = [species] if isinstance(species, str) or not isinstance(species, Iterable) else list(species)
    if not words:
        raise ValueError("species is an empty list; name at least one, or `all`")
    found = list(dict.fromkeys(map(_find, words)))
    for row in found:
        if not row.is_in(version):
            raise ValueError(f"release {version} of AlphaFold DB has no archive of {row.name} ({row.stem}) as far as "
                             f"is known; give another version, or leave it out")
    return found


def _find(word) -> Species:
    if isinstance(word, int) and not isinstance(word, bool):
        if 0 <= word < len(TABLE):
            return TABLE[word]
        raise ValueError(f"species are numbered from 0 to {len(TABLE) - 1}, but found {word}; for an NCBI taxon give "
                         f"text, \"{word}\"")
    found = [row for row in TABLE if str(word).lower() in row.words] if isinstance(word, str) else []
    if len(found) == 1:
        return found[0]
    if found:
        raise ValueError(f"`{word}` may be {' or '.join(row.stem for row in found)}; give one of these names")
    near = [row for row in TABLE if isinstance(word, str) and word and word.lower() in f"{row.name} {row.stem}".lower()]
    raise ValueError(f"unknown species {word!r}; give a number from 0 to {len(TABLE) - 1}, a UniProt proteome, or a "
                     f"name, such as {', '.join(f'`{row.name}` ({row.stem})' for row in (near or TABLE)[:3])}. Any "
                     f"other proteome can be read from its files: give source")
